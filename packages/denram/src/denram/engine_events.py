"""Native event engine (compiled C++)."""
import numpy as np
def available(): return False
def worthwhile(density): return density < 0.2
def missing_message(): return "denram's compiled engine is missing"
def require_library(): raise NotImplementedError
