"""Reading JSON that a person may have edited."""

import json
from pathlib import Path
from typing import Any


def read_json(path: Path, what: str = "file") -> dict[str, Any]:
    """A JSON object. Raises FileNotFoundError (`what` not found) or ValueError, naming the file."""
    if not path.is_file():
        raise FileNotFoundError(f"{what} not found: {path}")
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold a JSON object")
    return content
