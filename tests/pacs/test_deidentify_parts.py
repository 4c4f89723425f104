"""Keys, policies, tables and the command line of de-identification."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from medimg.cli import main
from medimg.errors import ConfigError, InputError
from medimg.pacs.deidentify.burned_in import Entry, may_show_text, read_catalogue
from medimg.pacs.deidentify.decide import Action, decide
from medimg.pacs.deidentify.keyed import Key, read_key, write_key
from medimg.pacs.deidentify.markers import MEANINGS
from medimg.pacs.deidentify.pixel_bytes import without_comments
from medimg.pacs.deidentify.private import safe_list
from medimg.pacs.deidentify.settings import DeidentifySettings
from medimg.pacs.deidentify.table import rule_for, rules
from medimg.pacs.deidentify.text import Cleaner, name_parts

CT = "1.2.840.10008.5.1.4.1.1.2"


def image(**values: object) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Modality = CT, "CT"
    dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3.4", "1.2.3", "1.2.3.9"
    dataset.PatientID, dataset.PatientName, dataset.InstanceNumber = "12345", "Doe^Jane", 1
    dataset.Rows = dataset.Columns = 16
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelData = np.arange(256, dtype=np.uint16).tobytes()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    write_key(tmp_path / "secret" / "key", tmp_path / "in", tmp_path / "out")
    return tmp_path / "secret" / "key"


def verb(tmp_path: Path, key: Path, *words: str) -> tuple[int, list[Dataset]]:
    code = main(["deidentify", f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}", f"key={key}", *words])
    return code, [pydicom.dcmread(path) for path in sorted((tmp_path / "out").rglob("*.dcm"))]


def test_the_table_is_whole() -> None:
    assert len(rules()) == 656
    assert {rule.basic for rule in rules().values()} == {
        "X",
        "Z",
        "D",
        "U",
        "X/Z",
        "X/D",
        "Z/D",
        "X/Z/D",
        "X/Z/U*",
    }
    assert rule_for(0x00102162) is not None
    assert rule_for(0x50040010) is rule_for(0x50FE3000)


def test_keys_lie_apart_and_are_secret(tmp_path: Path, key_file: Path) -> None:
    assert read_key(key_file) == read_key(key_file)
    assert "secret" not in repr(Key(b"x" * 32))
    with pytest.raises(ConfigError, match="beside the data"):
        write_key(tmp_path / "out" / "key", tmp_path / "out")
    with pytest.raises(InputError):
        write_key(key_file)
    key_file.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        read_key(key_file)
    with pytest.raises(InputError, match="new_key"):
        read_key(tmp_path / "none")


def test_another_key_gives_other_pseudonyms() -> None:
    one, other = Key(b"1" * 32), Key(b"2" * 32)
    assert one.uid("1.2.3") != other.uid("1.2.3")
    assert one.pseudonym("7") != other.pseudonym("7")
    assert {one.days(str(n), 30) for n in range(400)} == set(range(1, 31))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("CT chest, Mr. John Smith", "CT chest"),
        ("liver lesion; call 020 7946 0958", "liver lesion; call"),
        ("mail a.b@clinic.org now", "mail  now"),
        ("MRN: 0012345 follow-up", "follow-up"),
        ("scan of 2024-03-01, T2 5 mm", "scan of , T2 5 mm"),
        ("uid 1.2.840.113619.2.55 end", "uid  end"),
        ("DOE JANE thorax", "thorax"),
        ("thorax Janet", "thorax Janet"),
    ],
)
def test_clean_text(text: str, clean: str) -> None:
    cleaned = Cleaner(name_parts("Doe^Jane")).clean(text)
    assert cleaned == " ".join(clean.split())


def test_words_are_a_closed_list() -> None:
    assert Cleaner([]).words("CT chest abdomen pelvis - 55F Dr. Smith, Wilhelmina") == "CT chest abdomen pelvis"


def test_options_change_the_action() -> None:
    strict = DeidentifySettings()
    kept = DeidentifySettings(patient="keep", device="keep", institution="keep", dates="shift", text="clean")
    for tag, vr, first, second in (
        (0x00101010, "AS", Action.REMOVE, Action.AGE),
        (0x00102160, "SH", Action.REMOVE, Action.REMOVE),
        (0x00080080, "LO", Action.DUMMY, Action.CODE),
        (0x00181000, "LO", Action.DUMMY, Action.CODE),
        (0x00181200, "DA", Action.REMOVE, Action.SHIFT),
        (0x00080020, "DA", Action.EMPTY, Action.SHIFT),
        (0x00081030, "LO", Action.REMOVE, Action.CLEAN),
        (0x00100030, "DA", Action.EMPTY, Action.EMPTY),
        (0x00280010, "US", Action.KEEP, Action.KEEP),
        (0x00080016, "UI", Action.KEEP, Action.KEEP),
        (0x7FE10010, "OB", Action.REMOVE, Action.REMOVE),
    ):
        assert decide(tag, vr, strict).action is first, hex(tag)
        assert decide(tag, vr, kept).action is second, hex(tag)


def test_safe_private_elements_stay_with_their_creator(tmp_path: Path, key_file: Path) -> None:
    dataset = image()
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "1000")
    block = dataset.private_block(0x0029, "ACME", create=True)
    block.add_new(0x01, "LO", "Doe")
    block.add_new(0x02, "DS", "2.5")
    save(dataset, tmp_path / "in" / "a")
    code, found = verb(tmp_path, key_file, "safe_private=[standard,'ACME:0029,xx02:DS']")
    assert code == 0
    assert found[0].private_block(0x0019, "SIEMENS MR HEADER")[0x0C].value == 1000
    assert found[0].private_block(0x0029, "ACME")[0x02].value == 2.5
    assert 0x01 not in found[0].private_block(0x0029, "ACME")
    with pytest.raises(ConfigError, match="no private element"):
        safe_list(["ACME:0028,xx02:DS"])


def test_images_that_may_show_names_are_refused_or_flagged(tmp_path: Path, key_file: Path) -> None:
    save(image(Modality="US"), tmp_path / "in" / "a")
    assert verb(tmp_path, key_file) == (3, [])
    assert verb(tmp_path, key_file, "on_error=skip") == (0, [])
    code, found = verb(tmp_path, key_file, "burned_in=flag")
    assert (code, len(found)) == (0, 1)
    report = json.loads((tmp_path / "out" / "deidentification.json").read_text())
    assert report["files"][0]["flags"] == ["may show text in the pixels"]


def test_what_lies_outside_ultrasound_regions_is_masked(tmp_path: Path, key_file: Path) -> None:
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 2, 4
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 13, 15
    before = image(Modality="US", SequenceOfUltrasoundRegions=[region])
    save(before, tmp_path / "in" / "a")
    _, found = verb(tmp_path, key_file, "burned_in=flag")
    pixels = found[0].pixel_array
    assert np.array_equal(pixels[4:16, 2:14], before.pixel_array[4:16, 2:14])
    assert pixels[:4].max() == pixels[:, :2].max() == pixels[:, 14:].max() == 0


def test_statements_and_kinds_decide_what_may_show_text() -> None:
    assert not may_show_text(image())
    assert may_show_text(image(BurnedInAnnotation="YES"))
    assert not may_show_text(image(Modality="ES", BurnedInAnnotation="NO"))
    assert may_show_text(image(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]))
    assert not Entry("x", {"Rows": 17}, []).fits(image())
    assert Entry("x", {"Rows": 16, "Modality": "ct"}, [[0, 0, 0.5, 1]]).boxes(image()) == [(0, 0, 8, 16)]


def test_a_wrong_catalogue_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("- {name: a, match: {Modality: US}, regions: [[5, 5, 1, 1]]}")
    with pytest.raises(ConfigError, match="catalogue"):
        read_catalogue(path)


def test_overlays_stay_on_request(tmp_path: Path, key_file: Path) -> None:
    dataset = image()
    dataset.add_new(0x60000010, "US", 16)
    dataset.add_new(0x60000022, "LO", "Doe")
    dataset.add_new(0x60003000, "OW", bytes(32))
    save(dataset, tmp_path / "in" / "a")
    assert 0x60003000 not in verb(tmp_path, key_file)[1][0]
    found = verb(tmp_path, key_file, "overlays=keep")[1][0]
    assert 0x60003000 in found
    assert 0x60000022 not in found
    assert "113103" not in {item.CodeValue for item in found.DeidentificationMethodCodeSequence}


def test_documents_duplicates_and_other_files(tmp_path: Path, key_file: Path) -> None:
    save(image(EncapsulatedDocument=b"%PDF"), tmp_path / "in" / "pdf")
    save(image(), tmp_path / "in" / "one")
    save(image(), tmp_path / "in" / "two")
    (tmp_path / "in" / "note.txt").write_text("Jane Doe")
    (tmp_path / "in" / "broken").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    code, found = verb(tmp_path, key_file, f"index={tmp_path / 'secret' / 'index.csv'}")
    assert (code, len(found)) == (3, 1)
    report = json.loads((tmp_path / "out" / "deidentification.json").read_text())
    assert report["totals"] == {"refused": 2, "skipped": 1, "unreadable": 1, "written": 1}
    rows = list(csv.DictReader((tmp_path / "secret" / "index.csv").open(newline="")))
    assert [Path(row["path"]).name for row in rows] == ["broken", "note.txt", "one", "pdf", "two"]
    assert "Doe" not in (tmp_path / "out" / "deidentification.json").read_text()


def test_ancestry_goes_into_a_table_of_its_own(tmp_path: Path, key_file: Path) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "2054-5", "CDCREC", "Black"
    dataset = image(EthnicGroup="BLACK OR AFRICAN", EthnicGroupCodeSequence=[code])
    dataset.add_new(0x00102162, "UC", "Black")
    save(dataset, tmp_path / "in" / "a")
    table = tmp_path / "secret" / "ancestry.csv"
    _, found = verb(tmp_path, key_file, f"ancestry={table}", "patient=keep")
    (row,) = csv.DictReader(table.open(newline=""))
    assert row == {
        "pseudonym": found[0].PatientID,
        "ethnic_group": "BLACK OR AFRICAN",
        "ethnic_group_codes": "CDCREC:2054-5 Black",
        "ethnic_groups": "Black",
    }
    assert not any(tag in found[0] for tag in (0x00102160, 0x00102161, 0x00102162))
    assert verb(tmp_path, key_file, f"ancestry={tmp_path / 'out' / 'a.csv'}")[0] == 2


@pytest.mark.parametrize("words", [["dates=shfit"], ["text=all"], ["max_shift_days=0"], ["outptu=x"]])
def test_mistakes_are_configuration_errors(tmp_path: Path, key_file: Path, words: list[str]) -> None:
    save(image(), tmp_path / "in" / "a")
    assert verb(tmp_path, key_file, *words)[0] == 2


def test_input_and_output_lie_apart(tmp_path: Path, key_file: Path) -> None:
    save(image(), tmp_path / "in" / "a")
    assert main(["deidentify", f"input={tmp_path / 'in'}", f"output={tmp_path / 'in' / 'o'}", f"key={key_file}"]) == 2
    assert main(["deidentify", f"input={tmp_path / 'no'}", f"output={tmp_path / 'o'}", f"key={key_file}"]) == 3


def test_streams_lose_comments_and_tails() -> None:
    header = b"\xff\xd8\xff\xe0\x00\x04ab"
    scan = b"\xff\xda\x00\x02pixels\xff\xd9"
    assert without_comments(header + b"\xff\xfe\x00\x06name" + scan + b"tail") == header + scan
    main_header = b"\xff\x4f\xff\x51\x00\x04ab"
    tile = b"\xff\x90\x00\x02pixels\xff\xd9"
    assert without_comments(main_header + b"\xff\x64\x00\x06name" + tile) == main_header + tile
    with pytest.raises(InputError):
        without_comments(b"name" * 4)


def test_the_codes_are_those_of_the_dictionary() -> None:
    names = {code.value: code.meaning for code in (getattr(codes.DCM, name) for name in codes.DCM.dir("Option"))}
    assert {code: names[code] for code in MEANINGS if code in names} == {
        code: meaning for code, meaning in MEANINGS.items() if code in names
    }
    assert len(names) >= 9


@pytest.mark.real
def test_real_files_go_through(real_data: Path, tmp_path: Path, key_file: Path) -> None:
    code = main(
        [
            "deidentify",
            f"input={real_data / 'dicom-conformance'}",
            f"output={tmp_path / 'out'}",
            f"key={key_file}",
            "dates=shift",
            "text=words",
            "burned_in=flag",
        ]
    )
    totals = json.loads((tmp_path / "out" / "deidentification.json").read_text())["totals"]
    assert code == 3
    assert totals["written"] >= 90
    assert totals["unreadable"] <= 12
