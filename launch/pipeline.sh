#!/bin/bash
# Every stage of one set of configs, from problems to a report:
#
#   launch/pipeline.sh NAME [single|ddp|zero2|zero3|zero3-offload|fsdp2]
#
# A set is the files of one name in the folders of the commands: configs/sample/NAME.yaml, configs/label/NAME.yaml, build, train_prm, train_orm,
# search (NAME_validation.yaml, where settings are chosen, then NAME.yaml) and evaluate. The second word says how the trainings are launched
# (launch/train.sh). CONFIGS names another folder than this repository's configs/.
#
# Every command goes on from what its run folder holds, so a pipeline that was interrupted is started again with the same line.
# `launch/pipeline.sh smoke` runs the shipped policy on the built-in task, a few minutes on a CPU, to see that everything works.
set -euo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: pipeline.sh NAME [single|ddp|zero2|zero3|zero3-offload|fsdp2]" >&2
    exit 2
fi
name=$1 mode=${2:-single}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
configs=${CONFIGS:-$here/../configs}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

for file in sample/$name label/$name build/$name train_prm/$name train_orm/$name search/${name}_validation search/$name evaluate/$name; do
    if [ ! -e "$configs/$file.yaml" ]; then
        echo "$configs/$file.yaml: no such file; the set $name is not whole" >&2
        exit 2
    fi
done

stage() {
    echo "== $*" >&2
    "$@"
}
stage prm-train sample --config "$configs/sample/$name.yaml"
stage prm-train label --config "$configs/label/$name.yaml"
stage prm-train build --config "$configs/build/$name.yaml"
stage "$here/train.sh" "$mode" train-prm --config "$configs/train_prm/$name.yaml"
stage "$here/train.sh" "$mode" train-orm --config "$configs/train_orm/$name.yaml"
stage prm-train search --config "$configs/search/${name}_validation.yaml"
stage prm-train search --config "$configs/search/$name.yaml"
stage prm-train evaluate --config "$configs/evaluate/$name.yaml"
