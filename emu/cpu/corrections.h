/* What the C parts of emu/cpu know of each other. */

#ifndef EMU_CORRECTIONS_H
#define EMU_CORRECTIONS_H

#include <stdint.h>

/* A helper's return address: the place in the translated code, by which EIP is found. */
#define PLACE ((uintptr_t)__builtin_return_address(0))

/* The CPUState of the processor with that CPUX86State; NULL where it is none that was made known. */
__attribute__((visibility("hidden"))) void *emu_corrections_cpu(const void *env);

/* The other way round. */
__attribute__((visibility("hidden"))) void *emu_corrections_env(const void *cpu);

/* True where that processor's page tables were being walked for code when a fault was met, and
 * nobody has seen to it yet. */
__attribute__((visibility("hidden"))) int emu_corrections_is_fetching(const void *env);

#endif
