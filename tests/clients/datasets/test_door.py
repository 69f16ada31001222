"""Datasets as researchers have them: each is scored rightly, or refused with what to do about it.

Refusals, and a few of the rest, go through `cxr score`, against a service that reads every image
alike.
"""

import codecs
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from clients.cli.columns import meanings_of
from clients.cli.main import cli
from clients.datasets.open import Columns, open_dataset
from tests.clients.sdk import bodies
from tests.clients.sdk.http_server import Answer, Server, running_server
from tests.factories import dicom_bytes, png_bytes

PNG, DICOM = png_bytes(), dicom_bytes()
PLAIN = "path,label\nfilms/1.png,1\nfilms/2.png,0\n"
SICK_AND_WELL = {"films/1.png": 1, "films/2.png": 0}
NO_LABELS = {"films/1.png": None, "films/2.png": None}


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A dataset that is scored: what it holds, and what has to be in the rows."""

    table: str | bytes = ""
    name: str = "labels.csv"
    options: tuple[str, ...] = ()
    rows: Mapping[str, int | None] = field(default_factory=lambda: SICK_AND_WELL)
    site: str | None = None  # the stratum `site` of the first row
    warns: str = ""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A dataset that is not scored: the fact and the remedy that the sentence has to name."""

    table: str | bytes = ""
    name: str = "labels.csv"
    options: tuple[str, ...] = ()
    fact: str
    remedy: str


def parquet(**columns: list[object]) -> bytes:
    file = io.BytesIO()
    pd.DataFrame(columns).to_parquet(file)
    return file.getvalue()


UMLAUT = "path;label;site\nfilms/größe.png;1;Süd\nfilms/2.png;0;Nord\n"
UMLAUT_ROWS = {"films/größe.png": 1, "films/2.png": 0}
WORDS = "path,label\nfilms/1.png,Pneumonia\nfilms/2.png,normal\n"

TAKEN = {
    "plain": Taken(table=PLAIN),
    "UTF-8 with its mark": Taken(table=codecs.BOM_UTF8 + PLAIN.encode()),
    "UTF-16 of Excel's Unicode text": Taken(
        table=UMLAUT.replace(";", "\t").encode("utf-16"), rows=UMLAUT_ROWS, site="Süd"
    ),
    "UTF-16, big-endian": Taken(table=codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be")),
    "UTF-16 without its mark": Taken(table=PLAIN.encode("utf-16-le")),
    "Latin-1": Taken(
        table=UMLAUT.encode("latin-1"), rows=UMLAUT_ROWS, site="Süd", warns="not UTF-8"
    ),
    "semicolons and decimal commas": Taken(
        table="path;label;age;site\nfilms/1.png;1;47,5;n\nfilms/2.png;0;3,2;s\n", site="n"
    ),
    "tabs": Taken(table=PLAIN.replace(",", "\t"), name="labels.tsv"),
    "tabs, called .txt": Taken(table=PLAIN.replace(",", "\t"), name="labels.txt"),
    "bars": Taken(table=PLAIN.replace(",", "|")),
    "a line sep=": Taken(table="sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n")),
    "a line sep=, as Excel wants it": Taken(table="SEP=,\n" + PLAIN),
    "line ends of old Macs": Taken(table=PLAIN.replace("\n", "\r")),
    "spaces and capitals in the header": Taken(table=PLAIN.replace("path,label", " Path , LABEL ")),
    "spaces around values": Taken(
        table="path, label, site\nfilms/1.png , 1 , n \nfilms/2.png, 0, s\n", site="n"
    ),
    "quotes around everything": Taken(
        table='"path","label"\n"films/1.png","1"\n"films/2.png","0"\n'
    ),
    "a separator in a quoted value": Taken(
        table='path,label,site\nfilms/1.png,1,"n, old"\nfilms/2.png,0,s\n', site="n, old"
    ),
    "empty last rows of a spreadsheet": Taken(table=PLAIN + ",\n,\n\n , \n"),
    "blank lines above and between": Taken(table="\n\n" + PLAIN.replace("\n", "\n\n")),
    "a separator at the end of each line": Taken(table=PLAIN.replace("\n", ",\n")),
    "row numbers of pandas": Taken(table=",path,label\n0,films/1.png,1\n1,films/2.png,0\n"),
    "separators of Windows": Taken(table=PLAIN.replace("/", "\\")),
    "a dot of Windows": Taken(table=PLAIN.replace("films/", ".\\films\\")),
    "apostrophes": Taken(
        table="path,label,site\nfilms/1.png,1,St Mary's\nfilms/2.png,0,John's\n", site="St Mary's"
    ),
    "one column": Taken(table="path\nfilms/1.png\nfilms/2.png\n", rows=NO_LABELS),
    "numbers that keep their zeros": Taken(
        table="path,label,site\nfilms/1.png,1,007\nfilms/2.png,0,\n", site="007"
    ),
    "labels as 1.0 and empty": Taken(
        table="path,label\nfilms/1.png,1.0\nfilms/2.png,\n",
        rows={"films/1.png": 1, "films/2.png": None},
    ),
    "labels as True and False": Taken(table="path,label\nfilms/1.png,True\nfilms/2.png,False\n"),
    "labels in words": Taken(table=WORDS, options=("--label-map", "pneumonia=1,normal=0")),
    "words that programs take for missing": Taken(
        table="path,label,site\nfilms/1.png,Sick,NA\nfilms/2.png,None,x\n",
        options=("--label-map", "sick=1,none=0"),
    ),
    "labels of R that are missing": Taken(
        table="path,label\nfilms/1.png,1\nfilms/2.png,NA\n",
        rows={"films/1.png": 1, "films/2.png": None},
    ),
    "an unclear label": Taken(
        table=WORDS + "films/größe.png,?\n",
        options=("--label-map", "PNEUMONIA=1, normal=0, ?="),
        rows=SICK_AND_WELL | {"films/größe.png": None},
    ),
    "columns with other names": Taken(
        table="Image Index;Finding\nfilms/1.png;1\nfilms/2.png;0\n",
        options=("--path-column", "image index", "--label-column", "finding"),
    ),
    "a label that was not taken": Taken(
        table="path,diagnosis\nfilms/1.png,1\nfilms/2.png,0\n",
        rows=NO_LABELS,
        warns="it also has 'diagnosis'. If one of these is the label, name it with --label-column",
    ),
    "a label column that is empty": Taken(
        table="path,label\nfilms/1.png,\nfilms/2.png,\n",
        rows=NO_LABELS,
        warns="'label' of labels.csv is empty",
    ),
    "a row twice": Taken(
        table=PLAIN + "films/1.png,1\n", warns="1 rows of labels.csv repeat another"
    ),
    "Parquet with numbers and capitals": Taken(
        table=parquet(Path=["films/1.png", "films/2.png"], Label=[1.0, 0.0]), name="labels.parquet"
    ),
    "Parquet with words": Taken(
        table=parquet(path=["films/1.png", "films/2.png"], label=["sick", None]),
        name="labels.parquet",
        options=("--label-map", "sick=1"),
        rows={"films/1.png": 1, "films/2.png": None},
    ),
    "a folder with a table beside the images": Taken(
        name="films",
        rows={"1.png": None, "2.png": None, "größe.png": None},
        warns="'notes.csv' was not read",
    ),
    "a folder for each class": Taken(
        name="classes", rows={"Normal/a": None, "Pneumonia/b": None}, warns="folders are no labels"
    ),
    "RSNA with tables of Excel": Taken(
        name="rsna", rows={"stage_2_train_images/a1.dcm": 1, "stage_2_train_images/b2.dcm": 0}
    ),
}

REFUSED = {
    "no path": Refused(
        table="file,label\nfilms/1.png,1\n",
        fact="no column 'path'; it has 'file', 'label'",
        remedy="--path-column file",
    ),
    "no path, and none that looks like one": Refused(
        table="id,label\n17,1\n", fact="it has 'id', 'label'", remedy="--path-column NAME"
    ),
    "a column that was asked for": Refused(
        table=PLAIN,
        options=("--label-column", "truth"),
        fact="no column 'truth'",
        remedy="it has 'path', 'label'",
    ),
    "a map without a label": Refused(
        table="path,y\nfilms/1.png,1\n",
        options=("--label-map", "1=1"),
        fact="no column 'label' to map",
        remedy="--label-column",
    ),
    "no header": Refused(
        table="films/1.png,1\nfilms/2.png,0\n", fact="is no header", remedy="such as path,label"
    ),
    "no header, and files without a suffix": Refused(
        table="labels.csv,Meier Hans,PA\n", fact="is no header", remedy="such as path,label"
    ),
    "no finding, or no value": Refused(
        table="path,label\nfilms/1.png,1\nfilms/2.png,None\n",
        fact="holds 'none'",
        remedy="--label-map none=?",
    ),
    "separated by spaces": Refused(
        table="path label\nfilms/1.png 1\n", fact="one column, 'path label'", remedy="by a comma"
    ),
    "labels in words, no map": Refused(
        table=WORDS, fact="holds 'normal', 'pneumonia'", remedy="--label-map normal=?,pneumonia=?"
    ),
    "a word that is not in the map": Refused(
        table=WORDS,
        options=("--label-map", "normal=0"),
        fact="also holds 'pneumonia'",
        remedy="--label-map pneumonia=?",
    ),
    "a label that is none": Refused(
        table="path,label\n" + "".join(f"films/{n}.png,SMITH{n}\n" for n in range(9)),
        fact="holds 9 values other",
        remedy="--label-column",
    ),
    "a path twice with other labels": Refused(
        table=PLAIN + "films/1.png,0\n", fact="row 3 repeats a path", remedy="one row an image"
    ),
    "a row without a path": Refused(table=PLAIN + ",1\n", fact="row 3 has no path", remedy="row 3"),
    "two columns of one name": Refused(
        table="path,label,label\nfilms/1.png,1,0\n", fact="2 columns", remedy="rename all but one"
    ),
    "two columns that differ in capitals": Refused(
        table="Path,PATH\nfilms/1.png,1\n", fact="'Path', 'PATH' have one name", remedy="rename one"
    ),
    "more values than names": Refused(
        table=PLAIN + "films/a,b.png,0,x\n", fact="do not fit its header", remedy="in quotes"
    ),
    "more values in the first row": Refused(
        table="path,label\nfilms/a,b.png,0\n", fact="do not fit its header", remedy="in quotes"
    ),
    "a quote that is not closed": Refused(
        table='path,label\n"films/1.png,1\n',
        fact="do not fit its header",
        remedy="close every quote",
    ),
    "nothing": Refused(table="", fact="is empty", remedy="such as path,label"),
    "a header alone": Refused(
        table="path,label\n", fact="no DICOM, PNG or JPEG image", remedy="labels.csv"
    ),
    "a workbook": Refused(
        table=b"PK\x03\x04", name="labels.xlsx", fact="not a folder, a .csv", remedy="CSV UTF-8"
    ),
    "a workbook called .csv": Refused(
        table=b"PK\x03\x04 [Content_Types].xml", fact="an Excel workbook", remedy="CSV UTF-8"
    ),
    "Parquet called .csv": Refused(
        table=parquet(path=["films/1.png"]), fact="a Parquet file", remedy="call it .parquet"
    ),
    "text called .parquet": Refused(
        table=PLAIN, name="labels.parquet", fact="not a Parquet file", remedy="as CSV"
    ),
    "bytes that are no text": Refused(table=bytes(range(256)), fact="not text", remedy="as CSV"),
    "paths that start elsewhere": Refused(
        table="path,label\nC:\\study\\1.png,1\nC:\\study\\2.png,0\n",
        fact="none of the 2 files",
        remedy="move it there or correct",
    ),
    "RSNA's table of labels": Refused(
        table="patientId,x,y,width,height,Target\na1,1,2,3,4,1\n",
        fact="a table of RSNA 2018",
        remedy="give the folder",
    ),
    "columns of a folder": Refused(
        name="films",
        options=("--path-column", "file"),
        fact="is read as folder",
        remedy="only a manifest",
    ),
    "a folder without an image": Refused(
        name="nothing", fact="no DICOM, PNG or JPEG image", remedy="'nothing'"
    ),
    "one film": Refused(name="films/1.png", fact="one image", remedy="cxr predict"),
}


@pytest.fixture(scope="module")
def service() -> Iterator[Server]:
    with running_server() as server:
        server.on("/model", Answer.json(bodies.model()))
        server.on("/predict", Answer.json(bodies.reading()))
        yield server


def lay_out(folder: Path, case: Taken | Refused) -> Path:
    """Write the images, folders of every layout and the table; returns what is scored."""
    (folder / "films").mkdir()
    for name in ("1.png", "2.png", "größe.png"):
        (folder / "films" / name).write_bytes(PNG)
    (folder / "films" / "notes.csv").write_text("n\n")
    for name in ("Normal/a", "Pneumonia/b"):
        (folder / "classes" / name).parent.mkdir(parents=True)
        (folder / "classes" / name).write_bytes(PNG)
    (folder / "nothing").mkdir()
    images = folder / "rsna" / "stage_2_train_images"
    images.mkdir(parents=True)
    for name in ("a1.dcm", "b2.dcm"):
        (images / name).write_bytes(DICOM)
    labels = "patientId;x;y;width;height;Target\na1;1;2;3;4;1\na1;5;6;7;8;1\nb2;;;;;0\n"
    images.with_name("stage_2_train_labels.csv").write_text(labels, encoding="utf-8-sig")
    classes = "patientId\tclass\na1\tLung Opacity\nb2\tNormal\n"
    images.with_name("stage_2_detailed_class_info.csv").write_text(classes, encoding="utf-16")
    source = folder / case.name
    if not source.exists():
        source.write_bytes(case.table if isinstance(case.table, bytes) else case.table.encode())
    return source


def score(source: Path, service: Server, *options: str) -> tuple[Result, Path]:
    out = source.parent / "scores.parquet"
    arguments = ["score", str(source), "--out", str(out), "--url", service.url, *options]
    return CliRunner().invoke(cli, arguments), out


def test_there_are_more_than_forty() -> None:
    assert len(TAKEN) + len(REFUSED) >= 40


@pytest.mark.parametrize("case", TAKEN.values(), ids=TAKEN)
def test_is_listed(case: Taken, tmp_path: Path) -> None:
    given = dict(zip(case.options[::2], case.options[1::2], strict=True))
    columns = Columns(
        path=given.get("--path-column"),
        label=given.get("--label-column"),
        label_map=meanings_of(given.get("--label-map", "")),
    )
    dataset = open_dataset(lay_out(tmp_path, case), columns=columns)
    assert {item.name: item.label for item in dataset.items} == case.rows
    assert all(item.file.is_file() for item in dataset.items)
    assert case.site in (None, dataset.items[0].strata.get("site"))
    assert bool(case.warns) == bool(dataset.warnings) or case.name == "rsna"
    assert case.warns in " ".join(dataset.warnings)


@pytest.mark.parametrize(
    "name",
    ["UTF-16 of Excel's Unicode text", "separators of Windows", "a label that was not taken"],
)
def test_is_scored(name: str, service: Server, tmp_path: Path) -> None:
    case = TAKEN[name]
    result, out = score(lay_out(tmp_path, case), service, *case.options)
    assert result.exit_code == 0, result.output
    table = pd.read_parquet(out)
    assert table["error"].isna().all()
    labels = [None if pd.isna(label) else int(label) for label in table["label"]]
    assert dict(zip(table["path"], labels, strict=True)) == case.rows
    assert case.warns in result.stderr
    assert bool(case.warns) == ("Warning: " in result.stderr)


def test_missing_files_are_rows_whose_code_is_counted_at_the_end(
    service: Server, tmp_path: Path
) -> None:
    case = Taken(table=PLAIN + "films/8.png,0\nfilms/9.png,0\n")
    result, out = score(lay_out(tmp_path, case), service)
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1] == f"2 unreadable_file: cxr problems {out}"
    shown = CliRunner().invoke(cli, ["problems", str(out)])
    assert shown.exit_code == 0, shown.output
    first, _, *images = shown.stdout.splitlines()
    assert " ".join(first.split()) == "unreadable_file 2 the file is missing, or may not be read"
    assert images == [f"unreadable_file  films/{number}.png" for number in (8, 9)]


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_is_refused_in_a_sentence_with_exit_status_2(
    case: Refused, service: Server, tmp_path: Path
) -> None:
    result, out = score(lay_out(tmp_path, case), service, *case.options)
    assert result.exit_code == 2, result.output
    (sentence,) = result.stderr.splitlines()
    assert sentence.startswith("Error: ")
    assert case.fact in sentence
    assert case.remedy in sentence
    assert "SMITH" not in sentence  # a value that may name a patient
    assert not out.exists()


@pytest.mark.parametrize("text", ["pneumonia", "pneumonia=2", "=1", "a=1,b"])
def test_map_that_is_none_is_wrong_usage(text: str, service: Server, tmp_path: Path) -> None:
    source = lay_out(tmp_path, Taken(table=WORDS))
    result, _ = score(source, service, "--label-map", text)
    assert result.exit_code == 2
    assert "pneumonia=1,normal=0" in result.stderr
