import pytest

from service.observe.request import choose_id

OFFERED = [
    "3F2504E0-4F89-11D3-9A0C-0305E82C3301",  # Envoy
    "018f3b1e-7c1a-7000-8000-000000000000",
    "9d2b674a515a53993b271c40abf49aac",  # nginx
    "A" * 64,
]
REPLACED = [
    "",
    "1234567890123456",  # a number of a patient, or of an examination
    "00000000000000000000000012345678",
    "12345678-1234-1234-1234-123456789012",
    "19560131-0123",
    "abc1234567890123",  # a letter before a number
    "1234567890-1234567890-1234567890-abcd",  # another form of hyphens
    "a" * 31,
    "a" * 65,
    "doe-jane-" + "a" * 32,
    "9d2b674a515a53993b271c40abf49aac\n",
    "9d2b674a515a53993b271c40abf49aa\u0661",  # a digit elsewhere
]


@pytest.mark.parametrize("offered", OFFERED)
def test_what_proxies_make_up_is_taken(offered: str) -> None:
    assert choose_id(offered) == offered


@pytest.mark.parametrize("offered", REPLACED)
def test_what_could_be_a_patients_number_is_replaced(offered: str) -> None:
    chosen = choose_id(offered)
    assert chosen != offered
    assert choose_id(chosen) == chosen  # by the rule that callers are told
