# Sourced by demo.sh and test.sh: makes .venv beside the checkout's files, installs medimg and what is asked for.
# usage: source scripts/environment.sh EXTRAS        e.g. "encoder" or "test,openvino,encoder"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extras="$1"
python="${PYTHON:-}"
if [ -z "$python" ]; then
  for candidate in python3.11 python3.12 python3; do
    if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python="$candidate"
      break
    fi
  done
fi
if [ -z "$python" ]; then
  echo "medimg needs Python 3.11 or newer; none was found. Install it, or set PYTHON=/path/to/python." >&2
  exit 5
fi
if [ ! -x .venv/bin/python ]; then
  "$python" -m venv .venv
fi
# shellcheck disable=SC1091
source .venv/bin/activate

if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1; then
  echo "An NVIDIA GPU is here: torch is installed as the platform's default build."
  constraints=()
else
  echo "No GPU here: taking the CPU build of torch that scripts/constraints.txt pins. Training runs on the CPU."
  constraints=(-c scripts/constraints.txt)
  # Asked for first and alone, so that no other package can pull a CUDA build in.
  python -m pip install --quiet --disable-pip-version-check "torch==2.13.0"
fi
python -m pip install --quiet --disable-pip-version-check "${constraints[@]}" -e ".[$extras]"
