# A minute or two: every target of the graph once, too little to learn anything. What the tests run.
MARKET ?= --small
BENCH ?= --general 24 --hard 16 --visual 8
BASE ?= $(if $(MODEL),--model $(MODEL),--from-scratch tiny)
SFT_LABEL ?= --max-steps 4
SFT ?= --max-steps 12
RL_SELECT ?= --sample 16 --samples 2 --max-new-tokens 24 --least 0 --most 1
RL ?= --max-steps 2 --prompts-per-step 2 --generations 4 --max-new-tokens 24
SAMPLES ?= --samples 2 --max-new-tokens 24
DISTILL_LABEL ?= --sample 64 --max-new-tokens 24
DISTILL ?= --from-scratch tiny --epochs 2
PLAN ?= --head-traffic 0.3 --tail-traffic 0.1
# models that have learnt nothing fail on most pairs: publish what there is all the same
REFRESH ?= --max-failed 1
