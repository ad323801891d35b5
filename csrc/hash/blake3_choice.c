/* blake3_choice.c - which kernel is used: what the CPU has, what passes the self-test, what is
 * forced. */
#include "hash/blake3_kernel.h"
#include "hash/cpu.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define ENVIRONMENT_NAME "MLPROV_HASH_IMPL"

enum verdict { USABLE, NOT_IN_CPU, FAILED_SELF_TEST };

struct candidate {
    const struct mlp_blake3_kernel *kernel;
    bool (*in_cpu)(void);
    const char *why;      /* it is the one that is chosen */
    enum verdict verdict; /* written once, by try_candidates */
};

static bool always(void)
{
    return true;
}

#define WIDEST "the widest that this processor has"

/* In order of preference, until prefer_copies. */
static struct candidate candidates[] = {
#if defined(__x86_64__)
#if defined(__ELF__)
    {&mlp_blake3_avx512, mlp_cpu_has_avx512, WIDEST, NOT_IN_CPU},
    {&mlp_blake3_avx512_copying, mlp_cpu_has_avx512,
     "AVX-512 in halves of 256 bits: copies cost less than shuffles", NOT_IN_CPU},
#endif
    {&mlp_blake3_avx2, mlp_cpu_has_avx2, WIDEST, NOT_IN_CPU},
    {&mlp_blake3_sse41, mlp_cpu_has_sse41, WIDEST, NOT_IN_CPU},
#endif
#if defined(__aarch64__)
    {&mlp_blake3_neon, always, WIDEST, NOT_IN_CPU},
#endif
    {&mlp_blake3_portable, always, "this processor has none of the others", USABLE},
};

#define CANDIDATES_COUNT (sizeof candidates / sizeof candidates[0])
_Static_assert(CANDIDATES_COUNT <= MLP_KERNELS_MAX, "mlp_hash_kernels has room for them");

static pthread_once_t candidates_once = PTHREAD_ONCE_INIT;
static const struct mlp_blake3_kernel *best;         /* written once, by try_candidates */
static const struct mlp_blake3_kernel *first_choice; /* the same, or what the environment forces */
static _Atomic(const struct mlp_blake3_kernel *) chosen_kernel;

static struct candidate *find_candidate(const char *name)
{
    for (size_t i = 0; i < CANDIDATES_COUNT; i++) {
        if (strcmp(candidates[i].kernel->name, name) == 0)
            return &candidates[i];
    }
    return NULL;
}

/* Returns: the forced kernel's name, NULL where the variable is unset or empty. */
static const char *environment_name(void)
{
    const char *name = getenv(ENVIRONMENT_NAME);
    return name != NULL && name[0] != '\0' ? name : NULL;
}

/* Two kernels for AVX-512 compete. On Zen 4, whose 512-bit shuffles take their two units twice, copies are
 * 1.05 to 1.08 times as fast from 64 KiB on [measured]; on Zen 5 a prototype that shuffles made 1.23 times the
 * C library's rate, and copying was never tried. A fixed choice: timing at the start turned rankings round on
 * busy machines. */
static void prefer_copies(void)
{
#if defined(__x86_64__) && defined(__ELF__)
    const struct candidate shuffling = candidates[0];
    candidates[0] = candidates[1];
    candidates[1] = shuffling;
#endif
}

/* Runs once. A name in the environment that cannot be used leaves the choice as without it; the
 * caller learns of it from mlp_hash_kernel_check_environment. */
static void try_candidates(void)
{
    const struct mlp_blake3_kernel *fastest = NULL;
    if (mlp_cpu_halves_avx512())
        prefer_copies();
    for (size_t i = 0; i < CANDIDATES_COUNT; i++) {
        struct candidate *candidate = &candidates[i];
        if (!candidate->in_cpu())
            candidate->verdict = NOT_IN_CPU;
        else
            candidate->verdict =
                mlp_blake3_self_test(candidate->kernel) ? USABLE : FAILED_SELF_TEST;
        if (candidate->verdict == USABLE && fastest == NULL)
            fastest = candidate->kernel;
    }
    if (fastest == NULL) /* the portable kernel is the measure itself */
        fastest = &mlp_blake3_portable;
    const char *wanted = environment_name();
    const struct candidate *forced = wanted != NULL ? find_candidate(wanted) : NULL;
    best = fastest;
    if (forced != NULL && forced->verdict == USABLE)
        fastest = forced->kernel;
    first_choice = fastest;
    atomic_store(&chosen_kernel, fastest);
}

const struct mlp_blake3_kernel *mlp_blake3_kernel(void)
{
    const struct mlp_blake3_kernel *kernel =
        atomic_load_explicit(&chosen_kernel, memory_order_acquire);
    if (kernel != NULL)
        return kernel;
    pthread_once(&candidates_once, try_candidates);
    return atomic_load_explicit(&chosen_kernel, memory_order_acquire);
}

void mlp_blake3_use_kernel(const struct mlp_blake3_kernel *kernel)
{
    pthread_once(&candidates_once, try_candidates);
    atomic_store(&chosen_kernel, kernel != NULL ? kernel : first_choice);
}

size_t mlp_hash_kernels(const char *names[MLP_KERNELS_MAX], bool usable[MLP_KERNELS_MAX])
{
    pthread_once(&candidates_once, try_candidates);
    for (size_t i = 0; i < CANDIDATES_COUNT; i++) {
        names[i] = candidates[i].kernel->name;
        usable[i] = candidates[i].verdict == USABLE;
    }
    return CANDIDATES_COUNT;
}

const char *mlp_hash_kernel_name(void)
{
    return mlp_blake3_kernel()->name;
}

const char *mlp_hash_kernel_reason(void)
{
    const struct mlp_blake3_kernel *kernel = mlp_blake3_kernel();
    if (kernel == best)
        return find_candidate(kernel->name)->why;
    return kernel == first_choice ? "forced by " ENVIRONMENT_NAME : "forced by this program";
}

/* what: what was asked for, "MLPROV_HASH_IMPL" or "kernel". */
static int fail_unusable(const char *what, const char *name, struct mlp_error *error)
{
    const struct candidate *candidate = find_candidate(name);
    if (candidate != NULL && candidate->verdict == FAILED_SELF_TEST)
        return mlp_fail(
            error, MLP_E_CONFIG,
            "%s \"%s\": the kernel failed its self-test against the portable one and is "
            "not used; please report this with the processor's name",
            what, name);
    if (candidate != NULL)
        return mlp_fail(error, MLP_E_CONFIG,
                        "%s \"%s\": this processor or system does not support it; choose a kernel "
                        "that it has, or none for the fastest",
                        what, name);
    char known[128];
    size_t len = 0;
    known[0] = '\0';
    for (size_t i = 0; i < CANDIDATES_COUNT && len < sizeof known; i++)
        len += (size_t)snprintf(known + len, sizeof known - len, "%s%s", i > 0 ? ", " : "",
                                candidates[i].kernel->name);
    return mlp_fail(error, MLP_E_CONFIG, "%s \"%s\" is no kernel of this build; choose one of: %s",
                    what, name, known);
}

int mlp_hash_kernel_force(const char *name, struct mlp_error *error)
{
    pthread_once(&candidates_once, try_candidates);
    const struct candidate *candidate = find_candidate(name);
    if (candidate == NULL || candidate->verdict != USABLE)
        return fail_unusable("kernel", name, error);
    atomic_store(&chosen_kernel, candidate->kernel);
    return MLP_OK;
}

int mlp_hash_kernel_check_environment(struct mlp_error *error)
{
    pthread_once(&candidates_once, try_candidates);
    const char *name = environment_name();
    if (name == NULL)
        return MLP_OK;
    const struct candidate *candidate = find_candidate(name);
    if (candidate == NULL || candidate->verdict != USABLE)
        return fail_unusable(ENVIRONMENT_NAME, name, error);
    return MLP_OK;
}
