# Everything here only wraps: `pip install .` and `qupath-sam demo` do the same where there is no make.
.PHONY: help demo test lint types proto proto-check format setup
UV := $(shell command -v uv 2>/dev/null || echo "python3 -m uv")
RUN := $(UV) run --frozen

help: ## what can be done
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

proto: ## write the Python code of the protocol
	$(RUN) python -m grpc_tools.protoc -Iproto --python_out=. --pyi_out=. --grpc_python_out=. proto/qupath_sam/v1/*.proto
