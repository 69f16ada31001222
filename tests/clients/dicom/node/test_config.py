"""One sentence for every mistake in the node's file."""

import re
from pathlib import Path

import pytest

from clients.dicom.node.config import Config, ConfigError, load, secret

LEAST = """
spool = "/var/lib/nanocxr-node"
[[destination]]
name = "pacs"
ae_title = "PACS"
address = "10.0.0.1"
port = 104
"""
ASKS = '[[commitment]]\nae_title = "CR1"\naddress = "10.0.0.2"\nport = 104\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text)
    return path


def test_least_file_listens_on_loopback_alone(tmp_path: Path) -> None:
    config = load(written(tmp_path, LEAST))
    assert config == Config(spool=Path("/var/lib/nanocxr-node"), destination=config.destination)
    assert config.receive.address == config.http.address == "127.0.0.1"
    assert config.destination[0].archive == ("PACS", "10.0.0.1", 104)


def test_lists_numbers_and_networks_are_what_they_say(tmp_path: Path) -> None:
    more = (
        '[receive]\nnetworks = ["10.1.0.0/16", "fd00::/8", "10.2.3.4"]\n[limits]\nwait_seconds = 9'
    )
    config = load(written(tmp_path, LEAST + more))
    assert [str(one) for one in config.receive.networks] == [
        "10.1.0.0/16",
        "fd00::/8",
        "10.2.3.4/32",
    ]
    assert config.limits.wait_seconds == 9


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("colour = 1", r"nothing reads the key destination\.0\.colour"),
        ("prt = 1", r"nothing reads the key destination\.0\.prt; did you mean port\?"),
        ("[recieve]\nport = 1", r"nothing reads the key recieve; did you mean receive\?"),
        ('[receive]\ncaling = ["A"]', r"receive\.caling; did you mean calling\?"),
        ('[destination.when]\nmodalty = ["A"]', r"when\.modalty; did you mean modality\?"),
        ('[receive.tls]\nkye = "a"', r"receive\.tls\.kye; did you mean key\?"),
        ('[service]\nulr = "a"', r"service\.ulr; did you mean url\?"),
        ("[objects]\nkind = []", r"objects\.kind; did you mean kinds\?"),
        ("[[commitment]]\nae_titel = 1", r"commitment\.0\.ae_titel; did you mean ae_title\?"),
        ("[poll]\ndayz = 1", r"poll\.dayz; did you mean days\?"),
        ("[http]\nprt = 1", r"http\.prt; did you mean port\?"),
        ("[retention]\nrow_day = 1", r"retention\.row_day; did you mean row_days\?"),
        ("[limits]\nreader = 1", r"limits\.reader; did you mean readers\?"),
        ("[receive]\nport = 0", r"receive\.port: .* greater than or equal to 1"),
        ('[receive]\nae_title = "SEVENTEEN LETTERS"', r"receive\.ae_title: must be 1 to 16"),
        ('[receive]\nae_title = "A\\\\B"', r"receive\.ae_title: .* without a backslash"),
        ('[receive]\nport = "104"', r"receive\.port: must be a whole number without quotes"),
        ("[receive]\nport = true", r"receive\.port: must be a whole number"),
        ('[http]\nstow = "yes"', r"http\.stow: must be true or false, without quotes"),
        ('[retention]\nfilm_hours = "3"', r"film_hours: must be a number without quotes"),
        ('[receive]\ncalling = "CR1"', r"receive\.calling: must be a list in brackets"),
        ('[objects]\nkinds = "sr"', r"objects\.kinds: must be a list in brackets"),
        ("[service]\nkey_file = 3", r"service\.key_file: must be text in quotes"),
        ('[service]\nurl = "ftp://x"', r"service\.url: must begin with http:// or https://"),
        ('[receive]\naddress = ""', r"receive\.address: must not be empty"),
        ("[[receive]]\nport = 1", r"receive: must be a table"),
        ('[commitment]\nae_title = "A"', r"write \[\[commitment\]\] in two brackets"),
        ('[poll]\nurl = "http://x/"\nquery = "DX"', r"poll\.query: must be a table"),
        ('[receive]\naddress = "0.0.0.0"', "beyond loopback needs networks, or tls with a ca"),
        ('[receive]\nnetworks = ["10.0.0.0/33"]', r"networks\.0: must be a network, as in \"10"),
        ("[receive]\nnetworks = [3]", r"networks\.0: must be a network, as in \"10"),
        ('[receive]\nnetworks = ["10.1.2.3/16"]', r"networks\.0: .* first .*: \"10\.1\.0\.0/16\""),
        ('[receive.tls]\nca = "ca.pem"', "tls needs a certificate and a key"),
        ('[receive.tls]\ncertificate = "a.pem"', "certificate and key go together"),
        ('[http]\naddress = "0.0.0.0"', "beyond loopback needs a key_file"),
        ('[objects]\nkinds = ["sr", "pm"]', r"objects\.kinds\.1: .*'sr', 'sc', 'gsps' or 'seg'"),
        ('url = "http://x/"', "either ae_title, address and port, or url"),
        ('[[destination]]\nname = "b"\nae_title = "B"', "either ae_title, address and port"),
        ('[[destination]]\nname = "b"', "either ae_title, address and port"),
        ('[[destination]]\nname = "pacs"\nurl = "http://x/"', "have the same name"),
        (
            '[[destination]]\nname = "A B"\nurl = "http://x/"',
            r"destination\.1\.name: must be 1 to 32 small",
        ),
        *(
            (f'[poll]\nurl = "http://x/"\nquery = {{{key} = "20260101"}}', "days says how far back")
            for key in ("StudyDate", "00080020")
        ),
        ('[poll]\nurl = "http://x/"\nquery = {}\nca = "ca.pem"', "poll: ca is for https"),
        (
            '[[destination]]\nname = "b"\nurl = "http://x/"\ntls = {ca = "ca.pem"}',
            r"destination\.1: tls is for https",
        ),
        ("[objects]\nkinds = []", r"objects\.kinds: .*at least 1"),
        *(
            (f'[[destination]]\nname = "{name}"\nurl = "http://x/"', f"{name} means something else")
            for name in ("film", "reading", "commitment")
        ),
        ('[poll]\nurl = "http://x/"\nquery = {}\ndays = 40', "row_days must be at least"),
        (ASKS, "commitment needs retention.film_hours"),
        (f"{ASKS}{ASKS}[retention]\nfilm_hours = 9", "two senders with commitment have the same"),
        ("[limits]\nreaders = 0", r"limits\.readers"),
        ("spool = 3", "is no TOML"),
    ],
)
def test_mistake_is_one_sentence(tmp_path: Path, more: str, sentence: str) -> None:
    path = written(tmp_path, f"{LEAST}{more}\n" if more != "spool = 3" else "spool = ")
    with pytest.raises(ConfigError, match=sentence) as found:
        load(path)
    assert str(found.value).startswith(f"{path}")
    assert not re.search(r"\n|Input should|\[lax|\^", str(found.value))


@pytest.mark.parametrize("missing", ["spool", "destination"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    text = LEAST.replace(missing, "x" + missing) if missing == "spool" else 'spool = "x"'
    with pytest.raises(ConfigError, match=missing):
        load(written(tmp_path, text))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "node.toml")


class TestSecret:
    def test_is_what_the_file_holds(self, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("cxr_abc\n")
        assert secret(tmp_path / "key") == "cxr_abc"
        assert secret(None) == ""

    @pytest.mark.parametrize("content", ["", "\n", None])
    def test_empty_or_absent_is_an_error(self, tmp_path: Path, content: str | None) -> None:
        if content is not None:
            (tmp_path / "key").write_text(content)
        with pytest.raises(ConfigError, match="the key file"):
            secret(tmp_path / "key")
