"""Nearest-code search: for each feature the index of its closest code, exactly, by one of three engines.

``torch`` runs everywhere, ``faiss`` is the CPU's fused search, ``triton`` is CUDA's. All give the index
of a float64 brute force, except where two distances differ by less than rounding, and all give ties to
the lowest index. The engine follows from device, type and size; ``HSRZOO_SEARCH=torch|faiss|triton`` or
``with search_engine(name):`` forces one.
"""

from hsrzoo_mcga.codebook.search.engines import ENGINES, check_engine, engine_for, search_engine
from hsrzoo_mcga.codebook.search.op import nearest_code

__all__ = ["ENGINES", "check_engine", "engine_for", "nearest_code", "search_engine"]
