/* cpu.c - CPUID and XGETBV. Sources: Intel SDM vol. 1, section 14.3 (AVX detection), 15.2 (AVX-512);
 * AMD APM vol. 3, appendix E (vendor, family). That Zen 4 halves 512-bit operations shows in its rates
 * (docs/hashing.md).
 */
#include "hash/cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <stdint.h>

#define XCR0_YMM 0x06U /* xmm and ymm state */
#define XCR0_ZMM 0xE6U /* those, and opmask, upper halves, zmm16-31 */

#define LEAF7_EBX_AVX2     (1U << 5)
#define LEAF7_EBX_AVX512F  (1U << 16)
#define LEAF7_EBX_AVX512VL (1U << 31)

static uint32_t leaf1_ecx(void)
{
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) ? ecx : 0;
}

static uint32_t leaf7_ebx(void)
{
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) ? ebx : 0;
}

/* A CPU may have AVX while the system does not save its registers: then using it corrupts them. */
static bool system_saves(uint32_t state_bits)
{
    if ((leaf1_ecx() & bit_OSXSAVE) == 0)
        return false;
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & state_bits) == state_bits;
}

bool mlp_cpu_has_sse41(void)
{
    const uint32_t needed = bit_SSSE3 | bit_SSE4_1;
    return (leaf1_ecx() & needed) == needed;
}

bool mlp_cpu_has_avx2(void)
{
    return mlp_cpu_has_sse41() && (leaf7_ebx() & LEAF7_EBX_AVX2) != 0 && system_saves(XCR0_YMM);
}

bool mlp_cpu_has_avx512(void)
{
    const uint32_t needed = LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512VL;
    return mlp_cpu_has_avx2() && (leaf7_ebx() & needed) == needed && system_saves(XCR0_ZMM);
}

static uint32_t amd_family(void)
{
    uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (!__get_cpuid(0, &eax, &ebx, &ecx, &edx) || ebx != signature_AMD_ebx ||
        ecx != signature_AMD_ecx || edx != signature_AMD_edx)
        return 0;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx))
        return 0;
    uint32_t base = eax >> 8 & 0xFU;
    return base == 0xFU ? base + (eax >> 20 & 0xFFU) : base;
}

bool mlp_cpu_halves_avx512(void)
{
    return mlp_cpu_has_avx512() && amd_family() == 0x19;
}

#else

bool mlp_cpu_has_sse41(void)
{
    return false;
}

bool mlp_cpu_has_avx2(void)
{
    return false;
}

bool mlp_cpu_has_avx512(void)
{
    return false;
}

bool mlp_cpu_halves_avx512(void)
{
    return false;
}

#endif
