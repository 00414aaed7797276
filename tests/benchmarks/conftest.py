"""Makes the package ``benchmarks`` importable, behind an installed waifu2x."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
