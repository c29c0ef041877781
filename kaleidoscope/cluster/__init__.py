"""Dask clusters by one call each. A specification is a pure function's dict; a thin shell starts it.

Nothing here runs by itself: work goes to a cluster once its ``.get_client()`` is active.
"""

from kaleidoscope.cluster.local import local

__all__ = ["local"]
