# Eight minutes on two cores: enough data and steps to see each stage learn. Steps, not seconds: the same seed gives the same numbers.
BENCH ?= --general 280 --hard 210 --visual 140
BASE ?= $(if $(MODEL),--model $(MODEL),--from-scratch tiny)
SFT_LABEL ?= --max-steps 250
SFT ?= --max-steps 900
RL_SELECT ?= --sample 600 --samples 8 --max-new-tokens 96
RL ?= --max-steps 25 --prompts-per-step 16 --sft-weight 0.5 --max-new-tokens 96
SAMPLES ?= --samples 8 --max-new-tokens 96
DISTILL_LABEL ?= --sample 1500 --max-new-tokens 96
DISTILL ?= --from-scratch tiny --epochs 6
PLAN ?= --head-traffic 0.5 --tail-traffic 0.1
