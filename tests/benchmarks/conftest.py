"""Makes the package ``benchmarks`` importable, after an installed waifu2x on the path."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
