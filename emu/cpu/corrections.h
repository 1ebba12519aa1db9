/* What the C parts of emu/cpu know of each other. */

#ifndef EMU_CORRECTIONS_H
#define EMU_CORRECTIONS_H

#include <stdint.h>

#include "compiler.h"

/* A helper's return address: the place in the translated code, by which EIP is found. */
#define PLACE ((uintptr_t)__builtin_return_address(0))

/* One processor; corrections.py has the same structure. */
struct emu_corrections_processor {
    void *cpu; /* CPUState */
    void *env; /* CPUX86State */
    uint64_t cr2;      /* before the page tables were last walked for code */
    uint32_t fetching; /* they are being walked for code, or that has ended in a fault */
    uint32_t cpuid_edx, cpuid_ecx; /* of leaf 1 */
    uint32_t hits;  /* breakpoints for data that the instruction under way has met, as in DR6 */
    uint32_t again; /* what is entered next had been entered: it counts, and no stop comes */
    struct emu_corrections_processor *next;
};

/* The processor that was made known with that CPUX86State, or that CPUState; NULL where there is
 * none. */
LOCAL struct emu_corrections_processor *emu_corrections_of_env(const void *env);
LOCAL struct emu_corrections_processor *emu_corrections_of_cpu(const void *cpu);

/* The CPUState of the processor with that CPUX86State; NULL where none was made known. */
LOCAL void *emu_corrections_cpu(const void *env);

/* The other way round. */
LOCAL void *emu_corrections_env(const void *cpu);

/* CPUID's leaf 1 of the processor with that CPUX86State, which was made known. */
LOCAL void emu_corrections_features(const void *env, uint32_t *edx, uint32_t *ecx);

/* True where that processor's page tables were being walked for code when a fault was met, and
 * nobody has seen to it yet. */
LOCAL int emu_corrections_is_fetching(const void *env);

/* tasks.c tells what this is. */
enum emu_how { EMU_JUMP, EMU_CALL, EMU_RETURN };
LOCAL void emu_tasks_look(void *env, enum emu_how how, int selector, uint64_t next_eip,
                          uintptr_t place);

/* breakpoints.c tells what this is. */
LOCAL void emu_breakpoints_end(void *env);

/* What translating.c has done before an instruction. */
enum emu_before {
    EMU_CHECK_PORT, /* is port DX allowed, and as many more as the operand has bytes? */
    EMU_CHECK_LIMIT, /* is EIP, which is this, within the code segment? */
    EMU_FORGET_RF,
    EMU_FORGET_RF_AT_LAST, /* of a REP, whose count has so many bytes */
    EMU_FORGET_HITS,       /* of breakpoints for data */
    EMU_ENTER,             /* all of it; the operand has AllocSize, NestingLevel, and the size */
};

LOCAL void emu_corrections_before(void *env, enum emu_before what, uint32_t operand,
                                  uintptr_t place);

#define EMU_ENTER_LEVEL_SHIFT 16
#define EMU_ENTER_IS_32_BIT (1u << 24)

/* sse.c: true where 0Fh and that opcode are, or would be, MMX's or SSE's. */
LOCAL int emu_sse_is_one(uint8_t opcode);

enum emu_sse_form { EMU_SSE_UNDEFINED, EMU_SSE_PLAIN, EMU_SSE_ALIGNED };

/* What it is with that prefix (column 0: none, 1: 66h, 2: F3h, 3: F2h) and ModRM on a processor of
 * which CPUID says so. */
LOCAL enum emu_sse_form emu_sse_form(uint8_t opcode, unsigned column, uint8_t modrm, uint32_t edx,
                                     uint32_t ecx);

#endif
