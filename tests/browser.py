"""A headless Chromium that looks at pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

BINARIES = ("chromium", "chromedriver")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
PHONE = 390
"""Width in CSS pixels."""
DESKTOP = 1280

SVG_SIZES = (
    "return [...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect()).map(r => [r.width, r.height])"
)
VIDEOS_KNOWN = "return [...document.querySelectorAll('video')].every(v => v.error || v.readyState > 0)"
VIDEO_STATES = """
return [...document.querySelectorAll('video')].map(v => ({
  source: v.getAttribute('src'), error: v.error && v.error.message, duration: v.duration, width: v.videoWidth}))
"""


@contextmanager
def open_browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser with a fresh profile; the test is skipped where there is none."""
    found = [shutil.which(name) for name in BINARIES]
    if not all(found):
        pytest.skip("Chromium is missing; on Debian, as root: apt-get install -y chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(found[0])
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(found[1]))
    try:
        yield driver
    finally:
        driver.quit()


def visit(driver: webdriver.Chrome, page: Path, width: int) -> None:
    """Opens the page in a window of that width, and waits for its videos."""
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(page.as_uri())
    WebDriverWait(driver, 20).until(lambda driver: driver.execute_script(VIDEOS_KNOWN))


def faults(driver: webdriver.Chrome) -> list[str]:
    """What the console says: errors of scripts, and resources that could not be loaded."""
    return [entry["message"] for entry in driver.get_log("browser")]


def texts(driver: webdriver.Chrome, selector: str) -> list[str]:
    """The visible text of elements."""
    found: list[Any] = driver.find_elements("css selector", selector)
    return [element.text for element in found]
