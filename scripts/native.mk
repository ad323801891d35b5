# The C rooms and their tests in one variant, outside setuptools (which builds the extension modules).
#
#   make -f scripts/native.mk VARIANT=check run        build and run the C tests
#   make -f scripts/native.mk VARIANT=tsan run         those of threads, under ThreadSanitizer
#   make -f scripts/native.mk VARIANT=lint-gcc objects  compile everything with -Werror
#   make -f scripts/native.mk VARIANT=lint-clang tidy   clang-tidy over every file
#   make -f scripts/native.mk VARIANT=neon run         the BLAKE3 tests for AArch64 (scripts/test_neon.sh)
#   make -f scripts/native.mk VARIANT=arm64 cross      compile the C rooms for AArch64 (same script)
#   make -f scripts/native.mk VARIANT=fuzz fuzzers     the libFuzzer targets (scripts/fuzz.sh)
#
# Variants: check, sanitize, tsan, coverage, lint-gcc, lint-clang, neon, arm64, fuzz; each has its own
# folder under build/c.
# A file is built again when it, a header that it includes or the flags change.

VARIANT ?= check
PYTHON  ?= .venv/bin/python
TIDY    ?= clang-tidy
OUT     := build/c/$(VARIANT)

CC_check      := $(if $(filter default,$(origin CC)),gcc,$(CC))
CC_sanitize   := $(CC_check)
CC_tsan       := $(CC_check)
CC_coverage   := gcc
CC_lint-gcc   := gcc
CC_lint-clang := $(or $(CLANG),clang)
CC_neon       := $(or $(NEON_CC),aarch64-linux-gnu-gcc)
CC_arm64      := $(CC_neon)
CC_fuzz       := $(or $(CLANG),clang)

FLAGS_check      := -O2 -g
FLAGS_sanitize   := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
FLAGS_tsan       := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
FLAGS_coverage   := -O0 -g --coverage -fprofile-update=atomic
# -O3 as in the extension modules: gcc sees uninitialised values only where it has inlined.
FLAGS_lint-gcc   := -O3 -Werror
FLAGS_lint-clang := -O1 -Werror
FLAGS_neon       := -O3 -g -Werror
FLAGS_arm64      := -O1 -Werror
FLAGS_fuzz       := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all

LINK_sanitize := -fsanitize=address,undefined
LINK_tsan     := -fsanitize=thread
LINK_coverage := --coverage
LINK_neon     := -static
LINK_fuzz     := -fsanitize=fuzzer,address,undefined

# Emulated, the rooms are those that need no library of another processor: all of hash but SHA-2,
# for which a file stands in that refuses.
ifeq ($(VARIANT),neon)
ROOMS      := base hash
TESTS_GLOB := $(patsubst %,tests/c/test_%.c,hash hash_boundaries hash_kernels hash_many hash_vectors)
STAND_INS  := tests/cross/no_sha2.c
REPLACED   := csrc/hash/sha2.c
else
ROOMS      := base hash merkle codec tensor capture files sign store net anchor
TESTS_GLOB := tests/c/test_*.c
LIBRARIES  := $(shell $(PYTHON) scripts/native_libraries.py ldflags)
INCLUDES   := $(shell $(PYTHON) scripts/native_libraries.py cflags)
PYTHON_H   := $(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')
endif
# Compiled without its libraries for AArch64: scripts/test_neon.sh says which headers stand in.
ifeq ($(VARIANT),arm64)
INCLUDES   := -isystem $(OUT)/include
LIBRARIES  :=
PYTHON_H   :=
endif
DEFINES := -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE
STRICT  := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes

CC_USED   := $(CC_$(VARIANT))
CFLAGS_USED := -std=c11 $(DEFINES) -Icsrc $(INCLUDES) $(STRICT) -fvisibility=hidden $(FLAGS_$(VARIANT))

CORE_SOURCES   := $(filter-out $(REPLACED),$(sort $(foreach room,$(ROOMS),$(wildcard csrc/$(room)/*.c)))) $(STAND_INS)
ASSEMBLY       := $(foreach room,$(ROOMS),$(wildcard csrc/$(room)/*.S))
PYTHON_SOURCES := $(sort $(wildcard csrc/python/*.c))
TEST_SOURCES   := $(sort $(wildcard tests/c/*.c))
TESTS          := $(patsubst tests/c/%.c,$(OUT)/%,$(sort $(wildcard $(TESTS_GLOB))))
# Compiled by every variant that compiles all, linked by those that name them.
OTHER_SOURCES  := $(sort $(wildcard tests/cross/*.c tests/fuzz/*.c))
FUZZERS        := $(patsubst tests/fuzz/%.c,$(OUT)/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

# Programs that start threads; others would show ThreadSanitizer nothing.
TESTS_tsan     := $(addprefix $(OUT)/test_,first_failure pool pool_submit ticket hash_threads hash_reading slice strided files files_tensors outbox workers)
TESTS_USED     := $(or $(TESTS_$(VARIANT)),$(TESTS))

CORE_OBJECTS   := $(CORE_SOURCES:%.c=$(OUT)/%.o) $(ASSEMBLY:%.S=$(OUT)/%.o)
PYTHON_OBJECTS := $(PYTHON_SOURCES:%.c=$(OUT)/%.o)
TEST_OBJECTS   := $(TEST_SOURCES:%.c=$(OUT)/%.o)
OTHER_OBJECTS  := $(OTHER_SOURCES:%.c=$(OUT)/%.o)
HELPER_OBJECTS := $(filter-out $(OUT)/tests/c/test_%,$(TEST_OBJECTS))
ALL_OBJECTS    := $(sort $(CORE_OBJECTS) $(PYTHON_OBJECTS) $(TEST_OBJECTS) $(OTHER_OBJECTS))
# The tests' own macros make no good reading for clang-tidy; gcc and clang compile them with -Werror.
TIDY_STAMPS    := $(patsubst %.c,$(OUT)/%.tidy,$(CORE_SOURCES) $(PYTHON_SOURCES))

TIDY_FACTS := -include scripts/clang_tidy_facts.h

.PHONY: objects cross tests run tidy fuzzers FORCE
.SECONDARY: $(ALL_OBJECTS)

objects: $(ALL_OBJECTS)
cross: $(CORE_OBJECTS) $(TEST_OBJECTS)
tests: $(TESTS_USED)
run: tests
	@bash scripts/run_c_tests.sh $(TESTS_USED)
fuzzers: $(FUZZERS)
tidy: $(TIDY_STAMPS)

# Rewritten only when they say something new, so that objects and library follow flags and file list.
define note_change
	@mkdir -p $(@D)
	@printf '%s\n' '$(1)' | cmp -s - $@ || printf '%s\n' '$(1)' > $@
endef
$(OUT)/flags: FORCE
	$(call note_change,$(CC_USED) $(CFLAGS_USED) $(PYTHON_H))
$(OUT)/members: FORCE
	$(call note_change,$(CORE_OBJECTS))

$(PYTHON_OBJECTS): CFLAGS_USED += -DPy_LIMITED_API=0x030B0000 -isystem $(PYTHON_H)
# Kernels emulated in plain C pass wide vectors in memory; nothing outside the test program sees it.
$(TEST_OBJECTS) $(OTHER_OBJECTS): CFLAGS_USED += -Itests/c -Wno-psabi


$(OUT)/%.o: %.c $(OUT)/flags
	@mkdir -p $(@D)
	@$(CC_USED) $(CFLAGS_USED) -MMD -MP -c $< -o $@

$(OUT)/%.o: %.S $(OUT)/flags
	@mkdir -p $(@D)
	@$(CC_USED) $(CFLAGS_USED) -MMD -MP -c $< -o $@

$(OUT)/libmlprov_core.a: $(CORE_OBJECTS) $(OUT)/members
	@rm -f $@
	@ar rcs $@ $(CORE_OBJECTS)

$(OUT)/test_%: $(OUT)/tests/c/test_%.o $(HELPER_OBJECTS) $(OUT)/libmlprov_core.a
	@$(CC_USED) $(LINK_$(VARIANT)) $^ $(LIBRARIES) -pthread -o $@

$(OUT)/fuzz_%: $(OUT)/tests/fuzz/fuzz_%.o $(OUT)/libmlprov_core.a
	@$(CC_USED) $(LINK_$(VARIANT)) $^ $(LIBRARIES) -pthread -o $@

# The object stands for the source and every header that it includes.
$(OUT)/%.tidy: %.c $(OUT)/%.o .clang-tidy scripts/clang_tidy_facts.h
	@$(TIDY) --quiet $< -- $(CFLAGS_USED) $(TIDY_FACTS) >$@.log 2>&1 || { cat $@.log; exit 1; }
	@touch $@
$(OUT)/csrc/base/status.tidy: TIDY_FACTS :=
$(PYTHON_OBJECTS:.o=.tidy): CFLAGS_USED += -DPy_LIMITED_API=0x030B0000 -isystem $(PYTHON_H)

-include $(ALL_OBJECTS:.o=.d)
