"""One runnable story a file. `python -m demos` lists them."""

import os

# The products of a demo are small. A second BLAS thread saves a quarter of a step on an idle machine, and makes it
# several times as long when anything else runs beside, because BLAS' threads wait for each other by spinning.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
