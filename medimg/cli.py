"""The command line: verbs and their help. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from medimg import __version__
from medimg.errors import ConfigError, MedimgError, nearest

VERBS = {
    "demo": "train, report, gate, export and predict on the generated samples, all four modalities",
    "doctor": "what this machine offers, and what is missing",
    "samples": "write the generated samples",
    "index": "folders with scans and labels -> a cohort (four tables)",
    "check": "leakage, duplicates, masks that do not fit, missing demographics",
    "plan": "fingerprint -> preparation, patch, network, batch, each with its reason and a forecast",
    "train": "the whole way: plan, train, candidate package, held-out evaluation, report, gate",
    "evaluate": "run a package on labelled scans: tables and a report",
    "report": "the report of a run again, or of predictions and counts that any toolkit made; its protocol first",
    "export": "a trained run -> a sealed package (or exit 4), or a marked candidate",
    "predict": "a package on a new study: masks, probabilities, boxes, JSON",
    "serve": "beside a PACS: receive studies, run packages on them, send DICOM results back",
    "deidentify": "DICOM without identities: PS3.15 table, keyed pseudonyms and dates, a report of every action",
}

DETAILS = {
    "demo": "medimg demo [output=demo_runs] [modalities=[ct,mri,endoscopy,fundus]]",
    "doctor": "medimg doctor [json=true]",
    "samples": "medimg samples [output=data_samples] [seed=2026] [modalities=[ct,mri,endoscopy,fundus]]",
    "index": (
        "medimg index data=GROUP data.root=FOLDER output=COHORT\n"
        "  data.kind=csv|nnunet|coco   how the folder is laid out (csv: data.csv.* names the columns)"
    ),
    "check": "medimg check experiment=NAME data.root=FOLDER [json=true] [output=FILE.json]",
    "plan": "medimg plan experiment=NAME data.root=FOLDER [plan.KEY=VALUE …] [output=PLAN.yaml]",
    "train": (
        "medimg train experiment=NAME data.root=FOLDER [trainer.steps=… trainer.seed=… model.name=… …]\n"
        "medimg train resume=RUN_FOLDER             goes on, bit for bit, after a kill\n"
        "medimg train -m experiment=NAME trainer.seed=0,1,2   a sweep (Hydra launchers work)"
    ),
    "evaluate": "medimg evaluate package=PACKAGE experiment=NAME data.root=FOLDER output=FOLDER",
    "report": (
        "medimg report protocol output=PROTOCOL.json settings=FILE.yaml   before the test set is opened\n"
        "  evaluation.endpoints=[{metric: auc, target: T, primary: true, floor: 0.8, gap_margin: 0.1}]\n"
        "  tuning=TABLE          fixes thresholds on predictions of the tuning split (evaluation.threshold_rule)\n"
        "  thresholds={T: 0.5}   declares them instead\n"
        "medimg report predictions=TABLE protocol=PROTOCOL.json output=FOLDER [subjects=TABLE]   any toolkit's\n"
        "  columns.case=… columns.subject=… columns.truth=… columns.score=…   one row per case and target,\n"
        "  columns.score={T: COLUMN, U: COLUMN}   or columns for every target; nnU-Net's summary.json as it is\n"
        "  columns.site=… columns.dice=… people.sex=… people.age=…\n"
        "  ancestry.column=… ancestry.scheme=OMB-2024 ancestry.provenance=self_report   or …_column, row by row\n"
        "  predicted_at=2026-03-01T09:30:00Z      or columns.predicted_at; the file's time by default\n"
        "medimg report counts=TABLE protocol=PROTOCOL.json output=FOLDER   axis,value,target,tp,fp,fn,tn[,n_patients]\n"
        "medimg report summary predictions=TABLE|run=FOLDER protocol=PROTOCOL.json sender=SITE output=SITE.json\n"
        "medimg report summaries=[A.json,B.json] protocol=PROTOCOL.json output=FOLDER   sites that send counts\n"
        "medimg report run=RUN_FOLDER output=FOLDER                        the report of a run, rendered again\n"
        "  language=zh, pdf=true, dossier=true [declared=FILE.yaml] with any of these\n"
        "  exploratory=true looks at predictions without an earlier protocol, and validates nothing\n"
        "  tables are CSV, TSV or Parquet; every key can stand in settings=FILE.yaml; docs/report.md has examples"
    ),
    "export": "medimg export run=RUN_FOLDER output=FOLDER [key=PRIVATE_KEY.pem] [--candidate]",
    "predict": (
        "medimg predict package=PACKAGE input=FILE|FOLDER|SERIES output=FOLDER [probabilities=true] [json=true]\n"
        "  several channels: input.T1w=a.nii.gz input.FLAIR=b.nii.gz"
    ),
    "serve": (
        "medimg serve settings=FILE.yaml [root=FOLDER] [receiver.port=11112] [receiver.peers=[PACS]] [KEY=VALUE …]\n"
        "  FILE.yaml: receiver, completeness, routes, destinations, worker, retry; see configs/pacs/example.yaml\n"
        "  pacs=example          starts from that file; SIGTERM or Ctrl-C stops, and nothing is lost"
    ),
    "deidentify": (
        "medimg deidentify input=FOLDER|FILE output=FOLDER key=FILE [new_key=true]\n"
        "  dates=remove|shift    shift: each patient's dates move back by one keyed number of days\n"
        "  patient=keep device=keep institution=keep   text=remove|words|clean [names=FILE]   overlays=keep\n"
        "  safe_private=[standard,'CREATOR:gggg,xxee:VR']   burned_in=refuse|flag [catalogue=FILE.yaml] [ocr=true]\n"
        "  ancestry=FILE.csv     ancestry by pseudonym, apart from the data; index=FILE.csv names the input files\n"
        "  on_error=skip         files that were refused or unreadable are only listed (exit 0)"
    ),
}

EXIT_CODES = (
    "exit codes: 0 done, 2 wrong command or configuration, 3 unusable input, 4 the gate refused, "
    "5 missing extra or device, 70 our bug"
)
OUR_BUG = 70


def usage() -> str:
    """Return the page that ``medimg --help`` prints."""
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {name:<{width}}{text}" for name, text in VERBS.items())
    return (
        f"medimg {__version__}: medical-imaging deep learning that says, per ancestry, how well a model works.\n"
        "For research. It is not a cleared medical device.\n\n"
        f"usage: medimg VERB [key=value …]\n\n{verbs}\n\n"
        f"medimg VERB --help says more. {EXIT_CODES}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after ``medimg``; the process's own by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in {"-h", "--help", "help"}:
        print(usage())
        return 0
    if words[0] in {"-V", "--version"}:
        print(f"medimg {__version__}")
        return 0
    verb, overrides = words[0], words[1:]
    if verb in VERBS and any(word in {"-h", "--help"} for word in overrides):
        print(f"{VERBS[verb]}\n\n{DETAILS[verb]}\n\n{EXIT_CODES}")
        return 0
    return _run(verb, overrides)


def _run(verb: str, overrides: list[str]) -> int:
    try:
        if verb not in VERBS:
            raise ConfigError("there is no such verb", got=verb, expected=nearest(verb, VERBS), fix="medimg --help")
        # Read by OpenMP when it is loaded. Threads that spin while they wait make training several times slower where
        # the cores are shared with anything else.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        pipeline = importlib.import_module(f"medimg.pipelines.{verb}")
        return int(pipeline.main(overrides))
    except MedimgError as error:
        print(f"medimg {verb}: {error.describe()}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"medimg {verb}: stopped by the user", file=sys.stderr)
        return 130
    except Exception:  # noqa: BLE001 - the door of the program: what nobody foresaw becomes exit code 70
        traceback.print_exc()
        print(f"medimg {verb}: this is a bug of medimg, not of your data; please report it", file=sys.stderr)
        return OUR_BUG


if __name__ == "__main__":
    sys.exit(main())
