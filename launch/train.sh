#!/bin/bash
# Start a training command on one or many processes:
#
#   launch/train.sh single|ddp|zero2|zero3|zero3-offload|fsdp2 train-prm|train-orm|… --config FILE …
#
# It only puts together a line that can be typed as well (printed before it runs), for example
#
#   accelerate launch --config_file configs/accelerate/zero3.yaml --num_processes 8 -m prm_train.train_prm --config …
#
# N_PROCESSES     processes of this machine; default: its GPUs, or one
# N_MACHINES      with several, start this on each of them with MACHINE_RANK (0 … N_MACHINES - 1), and everywhere with the MASTER_ADDR of
#                 machine 0 and one free MASTER_PORT
#
# With DeepSpeed's own launcher instead of accelerate's, Trainer has to be told of DeepSpeed through the environment:
#
#   ACCELERATE_USE_DEEPSPEED=true ACCELERATE_DEEPSPEED_CONFIG_FILE=configs/deepspeed/zero3.json \
#       deepspeed --no_local_rank --module prm_train.train_prm --config …
#
# Without a GPU: ddp, zero2 and zero3 work (DeepSpeed builds an extension at its first start, which takes a C++ compiler); fsdp2 is refused.
set -euo pipefail

usage() {
    echo "usage: train.sh single|ddp|zero2|zero3|zero3-offload|fsdp2 train-prm|train-orm|… --config FILE …" >&2
    exit 2
}
[ $# -ge 2 ] || usage
mode=$1 command=$2
shift 2
case $command in
train-* | grpo) module=prm_train.${command//-/_} ;;
*) usage ;;
esac

gpus() { if command -v nvidia-smi >/dev/null; then nvidia-smi --list-gpus | wc -l; else echo 0; fi; }

configs=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/configs/accelerate
case $mode in
single) line=(python -m "$module") ;;
ddp | zero2 | zero3 | zero3-offload | fsdp2)
    n=${N_PROCESSES:-$(gpus)} machines=${N_MACHINES:-1}
    n=$((n > 0 ? n : 1))
    line=(accelerate launch --config_file "$configs/${mode//-/_}.yaml" --num_processes $((n * machines)) --num_machines "$machines")
    if [ "$machines" -gt 1 ]; then
        line+=(--machine_rank "$MACHINE_RANK" --main_process_ip "$MASTER_ADDR" --main_process_port "$MASTER_PORT")
    else
        line+=(--main_process_port "${MASTER_PORT:-0}") # 0: any that is free
    fi
    line+=(-m "$module")
    ;;
*) usage ;;
esac

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # more threads a process wait for each other
line+=("$@")
echo "${line[*]}" >&2
exec "${line[@]}"
