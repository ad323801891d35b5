/* The AVX-512 kernel's source on a machine that lacks AVX-512: compiled once more over SIMDe
 * (libsimde-dev), which defines Intel's intrinsics in plain C, and held to the portable kernel.
 *
 * This proves the kernel's logic (transposition, schedule, counters, flags, lengths, idle lanes) as
 * far as SIMDe is right about the intrinsics. It says nothing of the machine code a compiler makes
 * of the real intrinsics, nor of CPU detection; the self-test at first use stands for those, on
 * every machine.
 */
#include "check.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#if defined(__x86_64__) && defined(__has_include)
#if __has_include(<simde/x86/avx512/ror.h>)
#define HAVE_SIMDE 1
#endif
#endif

#if defined(HAVE_SIMDE) && !defined(SANITIZED)

/* Vectors wider than the target's are passed in memory: fine here. */
#pragma GCC diagnostic ignored "-Wpsabi"

/* setzero.h comes first: insert.h of SIMDe 0.7.4 needs it. */
/* clang-format off */
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512/setzero.h>
#include <simde/x86/avx512/add.h>
#include <simde/x86/avx512/cast.h>
#include <simde/x86/avx512/extract.h>
#include <simde/x86/avx512/insert.h>
#include <simde/x86/avx512/loadu.h>
#include <simde/x86/avx512/or.h>
#include <simde/x86/avx512/ror.h>
#include <simde/x86/avx512/set1.h>
#include <simde/x86/avx512/shuffle.h>
#include <simde/x86/avx512/unpackhi.h>
#include <simde/x86/avx512/unpacklo.h>
#include <simde/x86/avx512/xor.h>
/* clang-format on */

#define MLP_BLAKE3_AVX512_EMULATED
#define TARGET
#define WIDE_FROM                  1 /* every number of lanes goes through the sixteen-lane code */
#define mlp_blake3_avx512          emulated_avx512
#define mlp_blake3_compress_avx512 mlp_blake3_compress_portable
#include "../../csrc/hash/blake3_avx512.c"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define INPUT_LEN ((1U << 18) + 1)

/* The last len bytes before an unmapped page: reading one byte more faults. */
static const uint8_t *ending_at_the_page(size_t len)
{
    static uint8_t *end;
    if (end == NULL) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        size_t room = (INPUT_LEN + page - 1) / page * page;
        uint8_t *pages =
            mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (!CHECK(pages != MAP_FAILED && mprotect(pages + room, page, PROT_NONE) == 0))
            abort();
        for (size_t i = 0; i < room; i++)
            pages[i] = (uint8_t)(i % 251);
        end = pages + room;
    }
    return end - len;
}

static void the_emulated_kernel_passes_the_self_test(void)
{
    CHECK(mlp_blake3_self_test(&emulated_avx512));
}

static void the_emulated_kernel_agrees_with_the_portable_one_at_every_boundary(void)
{
    for (size_t power = 1024; power < INPUT_LEN; power *= 2) {
        const size_t lengths[] = {power - 1, power, power + 1, power / 4 * 3 + 1024};
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            const uint8_t *data = ending_at_the_page(lengths[i]);
            uint8_t expected[32], seen[32];
            mlp_blake3_use_kernel(&mlp_blake3_portable);
            mlp_blake3(expected, data, lengths[i]);
            mlp_blake3_use_kernel(&emulated_avx512);
            mlp_blake3(seen, data, lengths[i]);
            if (!CHECK(memcmp(seen, expected, 32) == 0))
                printf("  %zu bytes\n", lengths[i]);
        }
    }
    mlp_blake3_use_kernel(NULL);
}

int main(void)
{
    RUN(the_emulated_kernel_passes_the_self_test);
    RUN(the_emulated_kernel_agrees_with_the_portable_one_at_every_boundary);
    return check_finish();
}

#else

int main(void)
{
#if defined(SANITIZED)
    SKIP("a thousand emulated instructions take minutes to compile under a sanitizer; the ordinary "
         "build runs this, with the input before an unmapped page");
#else
    SKIP("AVX-512 under emulation needs x86-64 and SIMDe: apt-get install libsimde-dev");
#endif
    return check_finish();
}

#endif
