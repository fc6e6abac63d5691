import logging
import sys

import pytest
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ript import progress
from ript.progress import progress_bar


@pytest.fixture(autouse=True)
def to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_log_file_gets_whole_lines_and_no_control_characters(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL_S", 0.0)
    with caplog.at_level(logging.INFO), logging_redirect_tqdm(), progress_bar(total=3, desc="outer") as bar:
        with progress_bar(total=2, desc="inner", leave=False) as inner:
            inner.update()
        for _ in range(3):
            bar.update()
        bar.set_postfix(success="1/3")
    assert lines(caplog)[-1].startswith("outer: 3/3 [00:00<00:00, success=1/3]")
    assert any(line.startswith("inner: ") for line in lines(caplog))
    output = "".join(capfd.readouterr())
    assert "\r" not in output and "\x1b" not in output


def test_lines_come_at_intervals_and_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for _ in progress_bar(range(1000), desc="files"):
            pass
        with progress_bar(total=10, desc="groups", leave=False) as bar:
            bar.update(10)
        with progress_bar(total=10, desc="hidden", disable=True) as bar:
            bar.update(10)
    assert len(lines(caplog)) == 1 and lines(caplog)[0].startswith("files: 1000/1000 [")


def test_a_bar_that_is_left_early_says_how_far_it_came(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt), progress_bar(total=9, initial=4) as bar:
        bar.update(2)
        raise KeyboardInterrupt
    assert [line.split()[0] for line in lines(caplog)] == ["6/9"]


def test_a_terminal_has_tqdms_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bar(total=1) as bar:
        assert type(bar) is tqdm
