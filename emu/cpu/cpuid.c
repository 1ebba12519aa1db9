/* CPUID, answered from what models.py says of the model.
 *
 *     helper_cpuid                        CPUID
 *
 * A hook into Python would do, as the reference engine has one, and takes fifty times as long:
 * nobody notices at a program's start, but CPUID is also what keeps RDTSC in its place among other
 * instructions, and programs that wait so (GRUB does) run it by the million.
 */

#define _GNU_SOURCE
#include <stdint.h>

#include "library.h"
#include "native.h"

#define ENV_REGS 0 /* in CPUX86State, as in layout.py */
#define EXTENDED 0x80000000u /* the first extended leaf */

/* SDM volume 2A, CPUID.  native.py makes these of a model. */
struct leaf {
    uint32_t eax, ebx, ecx, edx;
};

struct emu_native_leaves {
    uint32_t basic, extended; /* how many there are of each, in this order */
    struct leaf leaf[];
};

static struct {
    void (*cpuid)(void *);
} real;

/* As emu_native_bind. */
const char *emu_cpuid_bind(void *library)
{
    const struct emu_function wanted[] = {{"helper_cpuid_x86_64", &real.cpuid}};
    return EMU_FIND(library, wanted);
}

/* As Model.cpuid: an unknown leaf is the highest basic one. */
static const struct leaf *find(const struct emu_native_leaves *leaves, uint32_t number)
{
    if (number - EXTENDED < leaves->extended)
        return &leaves->leaf[leaves->basic + number - EXTENDED];
    return &leaves->leaf[number < leaves->basic ? number : leaves->basic - 1];
}

void helper_cpuid_x86_64(void *env)
{
    struct emu_native_engine *e = emu_native_by_env(env);
    if (!e) {
        real.cpuid(env);
        return;
    }
    enum { EAX, ECX, EDX, EBX };
    uint64_t *regs = (uint64_t *)(e->env + ENV_REGS);
    const struct leaf *found = find(e->leaves, (uint32_t)regs[EAX]);
    regs[EAX] = found->eax;
    regs[EBX] = found->ebx;
    regs[ECX] = found->ecx;
    regs[EDX] = found->edx;
}
