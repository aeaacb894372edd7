#!/usr/bin/env bash
# What only a GPU can tell, in at most eight minutes. See --help.
set -uo pipefail

usage() {
  cat <<'HELP'
usage: bash benchmarks/gpu.sh [--rehearse] [OUT]

Checks and measures on one GPU, and writes into OUT (default: benchmarks/results):

  gpu_DEVICE_DATE.json, .md                 what passed and what failed, errors, planned memory
  gpu_DEVICE_DATE.log                       all that was printed
  efficiency_SHAPE_DEVICE_DATE.json, .md    speed and memory of the ways into an LLM, by shape
  (python -m benchmarks.plots FILE.json     draws these later)

Parts, the most telling first, each with a limit; together at most 480 s. One that fails or takes
too long stops no other. What each should take on an H200 was guessed beforehand:

  part          limit  guess
  set-up           30     10  which device, which packages
  numerics         95     60  float32, bfloat16 and float16 of every family of LLMs (sdpa, eager,
                              FlashAttention-2 where flash_attn is installed): logits, gradients,
                              generation, autocast, against the equations in float32
  llama3.2-1b      85     65  figure 1: random weights, text alone, PLITS, LAL, PAL, Flamingo-style;
                              m = 576 and 1024, n = 128; training of 8 rows in bfloat16 (LoRA of
                              rank 8, the LLM frozen, AdamW included), inference of 12 in float16
  llama3.2-3b     125    100  the same
  planner          55     40  planned memory of a training step of Llama 3.2 1B beside the real one
  tests            30     20  the other tests marked gpu
  flex             40     30  flex attention forward and backward, which is compiled
  report           20     10

LAVIS and libsndfile are not needed, nor is a network. Python is $PYTHON, else .venv/bin/python,
else python3. The exit code is 0 if everything passed, 1 if something failed, 2 without a GPU.

--rehearse runs the same on the CPU with tiny shapes, into a temporary folder unless OUT is given;
its files begin with rehearsal_ and hold no figures. Limits are then three times as long.
HELP
}

out= rehearse=
for argument; do
  case $argument in
    -h | --help) usage; exit ;;
    --rehearse) rehearse=1 ;;
    -*) usage >&2; exit 2 ;;
    *) out=$(realpath -m "$argument") ;;
  esac
done
cd "$(dirname "$0")/.."
python=${PYTHON:-}
[ -z "$python" ] && [ -x .venv/bin/python ] && python=.venv/bin/python
python=${python:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# LAVIS takes seconds to import; nothing may wait for a network.
export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false

if [ "$rehearse" ]; then
  out=${out:-$(mktemp -d)} times=3 mark=--rehearsal
  tests=(-m "not gpu and not slow" -k cpu)
  flex=(-m "not gpu and not slow" -k test_flex) # none: compiling takes a CPU minutes
  shapes=("cpu 90")
  sizes=(--device cpu --m 8 12 --n 20 --batch 1 --inference-batch 1 --repeats 1 --new-tokens 2)
else
  out=${out:-benchmarks/results} times=1 mark=
  tests=(-m gpu)
  flex=(-m gpu -k test_flex)
  shapes=("llama3.2-1b 85" "llama3.2-3b 125")
  sizes=(--device cuda --m 576 1024 --n 128 --batch 8 --inference-batch 12)
  sizes+=(--repeats 4 --new-tokens 16)
fi
mkdir -p "$out"

part() { # NAME SECONDS COMMAND...: run it under its limit, and note how it ended
  local name=$1 limit=$(($2 * times)) start=$SECONDS code outcome
  shift 2
  echo "== $name, $(date +%T), at most $limit s"
  # An interrupt lets pytest and the benchmarks write what they have by then.
  timeout --signal=INT --kill-after=10 "$limit" "$@" 2>&1 | tee "$work/$name.log"
  code=${PIPESTATUS[0]}
  case $code in
    0) outcome=passed ;;
    5) outcome=skipped ;; # pytest found no test
    124 | 137) outcome="took too long" failed=1 ;;
    *) outcome=failed failed=1 ;;
  esac
  printf '%s\t%s\t%s\t%s\n' "$name" "$outcome" $((SECONDS - start)) "$limit" >>"$work/parts.tsv"
  echo "== $name: $outcome after $((SECONDS - start)) s, exit code $code"
  return "$code"
}

check() { # NAME SECONDS PYTEST'S ARGUMENTS...
  local name=$1 limit=$2
  shift 2
  part "$name" "$limit" "$python" -m pytest -q --tb=short -p no:cacheprovider --durations=3 \
    --continue-on-collection-errors -o junit_family=xunit1 --junitxml "$work/$name.xml" "$@"
}

failed=0
part set-up 30 "$python" - "${rehearse:-0}" <<'PYTHON'
import importlib.metadata
import importlib.util
import sys

import torch

for name in ("torch", "transformers", "peft", "pytest"):
    print(name, importlib.metadata.version(name))
for name in ("flash_attn", "lavis", "soundfile"):
    print(name, "is installed" if importlib.util.find_spec(name) else "is not installed")
if torch.cuda.is_available():
    print(torch.cuda.get_device_properties(0), "cuDNN", torch.backends.cudnn.version())
elif sys.argv[1] == "0":
    print("torch sees no GPU here; --rehearse runs on the CPU")
    sys.exit(2)
PYTHON
[ $? = 2 ] && exit 2

here=tests/integration/test_gpu.py
check numerics 95 $here "${tests[@]}" --deselect "$here::test_flex"
for line in "${shapes[@]}"; do
  read -r shape limit <<<"$line"
  part "$shape" "$limit" "$python" -m benchmarks.efficiency --shape "$shape" "${sizes[@]}" \
    --tuning lora --variants text-only plits lal pal flamingo --no-plots --quiet --out "$out" $mark
done
check planner 55 tests/planning/test_gpu.py "${tests[@]}"
mapfile -t others < <(grep -rl --include='test_*.py' 'mark\.gpu' tests | grep -v '/test_gpu\.py$')
check tests 30 "${others[@]}" -m gpu
check flex 40 $here "${flex[@]}"
part report 20 "$python" -m benchmarks.gpu_report "$work" "$out" $mark
stem=$(sed -n 's/^wrote \(.*\)\.json$/\1/p' "$work/report.log")
cut -f1 "$work/parts.tsv" | sed "s|.*|$work/&.log|" | xargs cat >"${stem:-$out/gpu}.log"
echo "== done after $SECONDS s; results in $out"
exit "$failed"
