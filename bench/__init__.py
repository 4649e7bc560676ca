"""
Measurements against what people use today, in one run on one machine.

``make bench``, or ``python -m bench`` runs all of them and prints one Markdown table; ``python -m bench.NAME`` runs
one. ``--scale 0.1`` makes everything a tenth of the size, for a quick check.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "_utils"))
