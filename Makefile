# The short way in; CMakePresets.json has the rest.
#   make         build build/release/lowbit
#   make demo    install what is missing, build, quantize and measure models/tiny-llama
#   make test    install what is missing, build, run all tests
#   make check   formatting, layering, static analysis (needs the group "check" of packages.txt)
.PHONY: build demo test check packages
build:
	cmake --preset release
	cmake --build --preset release

demo: packages
	$(MAKE) --no-print-directory build
	scripts/demo.sh build/release/lowbit build/demo

test: packages
	$(MAKE) --no-print-directory build
	ctest --preset full

check:
	scripts/check-sources.sh
	scripts/check-layers.sh
	scripts/check-format.sh
	scripts/check-tidy.sh

packages:
	scripts/install-packages.sh build
