"""One thread for every process: the tests run in as many processes as there are cores."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch and numba are imported
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
