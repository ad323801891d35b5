/* cpu.h - which instruction sets the processor has and the operating system saves.
 *
 * Threads: pure functions; any thread.
 */
#ifndef MLP_HASH_CPU_H
#define MLP_HASH_CPU_H

#include <stdbool.h>

/* Each returns false on other architectures. */
bool mlp_cpu_has_sse41(void);  /* SSSE3 and SSE4.1 */
bool mlp_cpu_has_avx2(void);   /* AVX2, with ymm state enabled by the system */
bool mlp_cpu_has_avx512(void); /* AVX-512 F and VL and AVX2, with zmm and mask state enabled */

/* Whether 512-bit operations are known to take their units twice, 256 bits at a time: AMD's family 0x19,
 * of which the models with AVX-512 are Zen 4. */
bool mlp_cpu_halves_avx512(void);

#endif
