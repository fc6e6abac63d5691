"""What LIBERO's demonstration files say about their task."""

import json
import re
from pathlib import Path
from typing import Any

TAG = "libero-v1"


def task_attributes(bddl_file: Path, language: str) -> dict[str, Any]:
    """Attributes of the file's group `data`, for the task of a BDDL file and its instruction."""
    scene = bddl_file.read_text(encoding="utf-8")
    problem, domain = (re.search(rf"\({key} ([\w-]+)\)", scene) for key in ("problem", ":domain"))
    assert problem and domain, f"{bddl_file} names no problem or domain"
    names = {"problem_name": problem[1].lower(), "domain_name": domain[1], "language_instruction": language}
    return {
        "env_name": problem[1].replace("LIBERO", "Libero"),
        "problem_info": json.dumps(names),
        "bddl_file_name": bddl_file.name,
        "bddl_file_content": scene,
        "macros_image_convention": "opengl",
        "tag": TAG,
    }
