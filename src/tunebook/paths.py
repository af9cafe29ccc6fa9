"""Where the repository is, whatever the working directory: its mlflow.db, data/ and outputs/ are found from here."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
