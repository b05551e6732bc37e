"""One runnable story a file. `python -m demos` lists them."""

import os

# The products of a demo are small. A second BLAS thread gains little on them, and costs several times the whole
# step when anything else runs beside, because BLAS' threads wait for each other by spinning.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
