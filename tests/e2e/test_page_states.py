"""Every state of the page at /ui, light and dark: a picture in build/ui, and nothing that axe finds.

Run it alone to look at the page: `python -m pytest -n0 tests/e2e/test_page_states.py`.
"""

import re
from collections.abc import Callable
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browser import Screen, assert_accessible, screen
from tests.e2e.conftest import Server
from tests.factories import dicom_bytes, png_bytes

pytestmark = pytest.mark.e2e
FOLD = 720  # pixels of a common small screen
