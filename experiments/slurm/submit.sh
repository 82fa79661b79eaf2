#!/bin/bash
# Submits the base learners of a study as one array job: submit.sh [sbatch options] -- [base-models options]
set -euo pipefail
cd "$(dirname "$0")/../.."

sbatch_options=()
while [[ $# -gt 0 && $1 != -- ]]; do
  sbatch_options+=("$1")
  shift
done
[[ ${1:-} != -- ]] || shift

listed=$(.venv/bin/python -m flannel base-models --list=true "$@")
runs=$(wc -l <<< "$listed")
echo "$runs runs: $(head -n 1 <<< "$listed")${listed:+ ...}" >&2
exec sbatch --array="0-$((runs - 1))" "${sbatch_options[@]}" experiments/slurm/base_models.sbatch "$@"
