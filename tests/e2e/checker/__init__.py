"""The checker of end-to-end runs: records of clients and workers, and the verdict on them."""
