"""The Chinese pages say what the English ones say, as far as a program can see: by section, what differs is named.

A page in `docs/zh/` (and `README.zh.md`) has the headings of its English page, the same blocks of code, and in each
section the same inline code, numbers, links, list items and rows of tables.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAIRS = {ROOT / "README.zh.md": ROOT / "README.md"} | {
    page: ROOT / "docs" / page.name for page in sorted((ROOT / "docs" / "zh").glob("*.md"))
}
"""Chinese page → English page."""
HEADING = re.compile(r"^(#+) (.*)$")
LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:)([^)#]+)[^)]*\)")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
MODELS = re.compile(r"π0(?:\.5)?|π_RL")
"""Names, not numbers: a sentence may say them once more in one language."""


class Section:
    """A heading and what follows up to the next one."""

    def __init__(self, level: int, title: str):
        self.level, self.title = level, title
        self.blocks: list[list[str]] = []
        """Fenced and indented code."""
        self.prose: list[str] = []

    def parts(self, page: Path) -> dict[str, Counter[str]]:
        """What must be equal, by its name."""
        text = "\n".join(self.prose)
        links = Counter(english_of(page.parent / target) for _, target in LINK.findall(text))
        del links[english_of(page)]  # to the same page in the other language
        code = {" ".join(words.split()) for words in re.findall(r"`([^`]+)`", text)}
        plain = MODELS.sub("", re.sub(r"`[^`]+`", "", LINK.sub(r"\1", text)))
        return {
            "inline code": Counter(code),
            "numbers": Counter(NUMBER.findall(plain)),
            "links": links,
            "list items": Counter({"items": sum(bool(re.match(r"\s*(-|\d+\.) ", line)) for line in self.prose)}),
            "rows of tables": Counter({"rows": sum(line.startswith("|") for line in self.prose)}),
        }


def english_of(path: Path) -> str:
    """The English page that a link leads to, whatever the language of its target."""
    found = path.resolve()
    return str(PAIRS.get(found, found).relative_to(ROOT))


def sections(text: str) -> list[Section]:
    """The page's sections; what comes before the first heading belongs to none."""
    found: list[Section] = []
    fenced = False
    for line in text.splitlines():
        heading = None if fenced else HEADING.match(line)
        if heading:
            found.append(Section(len(heading[1]), heading[2]))
        elif line.lstrip().startswith("```"):
            fenced = not fenced
            if fenced:
                found[-1].blocks.append([])
        elif fenced:
            found[-1].blocks[-1].append(line)
        elif line.startswith("    ") and not line.strip().startswith("-"):
            found[-1].blocks.append([line.strip()])
        else:
            found[-1].prose.append(line)
    return found


def differences(chinese: Path, chinese_text: str, english: Path, english_text: str) -> Iterator[str]:
    """One line for each thing that differs, for whoever mends it."""
    ours, theirs = sections(chinese_text), sections(english_text)
    if [section.level for section in ours] != [section.level for section in theirs]:
        titles = [["#" * section.level + " " + section.title for section in part] for part in (ours, theirs)]
        yield f"headings: {titles[0]}, in English {titles[1]}"
        return
    for own, other in zip(ours, theirs, strict=True):
        where = f"section {own.title!r} ({other.title!r})"
        if len(own.blocks) != len(other.blocks):
            yield f"{where}: {len(own.blocks)} blocks of code, in English {len(other.blocks)}"
        for number, (block, english_block) in enumerate(zip(own.blocks, other.blocks, strict=False), start=1):
            for line, english_line in zip([*block, ""], [*english_block, ""], strict=False):
                if line != english_line:
                    yield f"{where}, block of code {number}: {line!r}, in English {english_line!r}"
                    break
        mine, wanted = own.parts(chinese), other.parts(english)
        for name, counted in mine.items():
            if missing := wanted[name] - counted:
                yield f"{where}: {name} missing in Chinese: {dict(missing)}"
            if extra := counted - wanted[name]:
                yield f"{where}: {name} in Chinese alone: {dict(extra)}"


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("chinese", PAIRS, ids=name)
def test_a_chinese_page_is_in_step_with_its_english_one(chinese: Path) -> None:
    english = PAIRS[chinese]
    found = list(differences(chinese, chinese.read_text(), english, english.read_text()))
    assert not found, f"{name(chinese)} and {name(english)} differ:\n" + "\n".join(found)


@pytest.mark.parametrize("chinese", PAIRS, ids=name)
def test_both_pages_lead_to_each_other_and_every_link_leads_somewhere(chinese: Path) -> None:
    pages = {chinese, PAIRS[chinese]}
    for page in pages:
        targets = {(page.parent / target).resolve() for _, target in LINK.findall(page.read_text())}
        assert pages - {page} <= targets, f"{name(page)} has no link to the other language"
        assert not [target for target in targets if not target.exists()], name(page)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("## Train\n", "## Train\n\n## Another\n", "'## Train', '## Another', '## Read on']"),
        ("NPROC=2 bash", "NPROC=3 bash", "block of code 1: 'NPROC=2 bash"),
        ("151 of 250", "152 of 250", "numbers missing in Chinese: {'152': 1}"),
        ("`diagnosis.jsonl`", "`diagnoses.jsonl`", "inline code in Chinese alone: {'diagnosis.jsonl': 1}"),
        ("(docs/serve.md)", "(docs/memory.md)", "links missing in Chinese: {'docs/memory.md': 1}"),
        ("\n## Evaluate", "- one more\n\n## Evaluate", "list items missing in Chinese: {'items': 1}"),
        ("| `diagnosis.jsonl` | what went wrong, if anything |\n", "", "rows of tables in Chinese alone: {'rows': 1}"),
    ],
)
def test_a_change_of_the_english_page_alone_is_named(before: str, after: str, said: str) -> None:
    chinese, english = ROOT / "README.zh.md", ROOT / "README.md"
    text = english.read_text()
    assert text.count(before) == 1
    found = list(differences(chinese, text, english, text.replace(before, after)))
    assert any(said in line for line in found), found
