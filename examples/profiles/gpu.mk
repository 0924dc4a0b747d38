# A GPU box with your own pairs, a real base model and a real teacher:
#   make lifecycle PROFILE=gpu PAIRS=pairs.parquet LOG=log.parquet MODEL=Qwen/Qwen3-4B JUDGE=http://gpu1:8000/v1#qwen3-32b
JOBS ?= 1
MODEL ?= Qwen/Qwen3-4B
MARKET ?= --items 8000 --queries 9000
BENCH ?= --general 2000 --hard 1000 --visual 600
BASE ?= --model $(MODEL) --lora
SFT_LABEL ?= --epochs 1
SFT ?= --epochs 1
RL_SELECT ?= --sample 4000 --samples 8
RL ?= --max-steps 400
SAMPLES ?= --samples 8
DISTILL_LABEL ?= --sample 100000
DISTILL ?= --from-scratch small --epochs 4
PLAN ?= --head-traffic 0.8 --tail-traffic 0.05
