#!/usr/bin/env bash
#SBATCH --job-name=espalier-sweep
#SBATCH --cpus-per-task=2
#SBATCH --output=sweep-%A-%a.log
# One part of a sweep: sbatch --array=1-N slurm.sh MODEL DIR OPTION...
set -euo pipefail
model=$1 folder=$2
shift 2
exec "${ESPALIER:-espalier}" sweep "$model" -o "$folder" --threads "${SLURM_CPUS_PER_TASK:-1}" \
  --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" "$@"
