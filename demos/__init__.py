"""One runnable story a file. `python -m demos` lists them."""
