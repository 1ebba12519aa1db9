/* Which MMX and SSE instructions there are, and what operands they may have.
 *
 * Unicorn 2.1.4 takes many for each other that are not: a prefix that means nothing, a form of a
 * later processor, memory in place of a register.  translating.c asks here before it lets one be
 * translated.
 *
 * What an instruction is depends on its opcode, 0Fh and a byte, and on the last of its prefixes F2h
 * and F3h, or else on 66h (SDM 2A, 2.1.2).  So a row below has an opcode, or some that are alike,
 * and four columns; where there is nothing there is no such instruction.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), volume 2, appendix A,
 * tables, and the instructions' own pages, as far as SSE3 goes.
 */

#include <stddef.h>
#include <stdint.h>

#include "corrections.h"

/* Who has it: as CPUID says. */
#define MMX 1
#define SSE 2
#define SSE2 3
#define SSE3 4
#define FEATURE 7
/* Operands: memory alone, a register alone; memory is of 16 bytes and must be aligned. */
#define M 8
#define R 16
#define A 32

struct row {
    uint8_t first, last;
    uint8_t forms[4]; /* without a prefix, with 66h, F3h, F2h */
};

static const struct row rows[] = {
    {0x10, 0x11, {SSE, SSE2, SSE, SSE2}},             /* MOVUPS, MOVUPD, MOVSS, MOVSD */
    {0x12, 0x12, {SSE, SSE2 | M, SSE3 | A, SSE3}},    /* MOVLPS, MOVLPD, MOVSLDUP, MOVDDUP */
    {0x13, 0x13, {SSE | M, SSE2 | M}},                /* MOVLPS, MOVLPD */
    {0x14, 0x15, {SSE | A, SSE2 | A}},                /* UNPCKLPS ... UNPCKHPD */
    {0x16, 0x16, {SSE, SSE2 | M, SSE3 | A}},          /* MOVHPS, MOVHPD, MOVSHDUP */
    {0x17, 0x17, {SSE | M, SSE2 | M}},                /* MOVHPS, MOVHPD */
    {0x28, 0x29, {SSE | A, SSE2 | A}},                /* MOVAPS, MOVAPD */
    {0x2A, 0x2A, {SSE, SSE2, SSE, SSE2}},             /* CVTPI2PS ... CVTSI2SD */
    {0x2B, 0x2B, {SSE | M | A, SSE2 | M | A}},        /* MOVNTPS, MOVNTPD */
    {0x2C, 0x2D, {SSE, SSE2 | A, SSE, SSE2}},         /* CVTTPS2PI ... CVTSD2SI */
    {0x2E, 0x2F, {SSE, SSE2}},                        /* UCOMISS ... COMISD */
    {0x50, 0x50, {SSE | R, SSE2 | R}},                /* MOVMSKPS, MOVMSKPD */
    {0x51, 0x51, {SSE | A, SSE2 | A, SSE, SSE2}},     /* SQRTPS ... SQRTSD */
    {0x52, 0x53, {SSE | A, 0, SSE}},                  /* RSQRTPS ... RCPSS */
    {0x54, 0x57, {SSE | A, SSE2 | A}},                /* ANDPS ... XORPD */
    {0x58, 0x59, {SSE | A, SSE2 | A, SSE, SSE2}},     /* ADDPS ... MULSD */
    {0x5A, 0x5A, {SSE2, SSE2 | A, SSE2, SSE2}},       /* CVTPS2PD ... CVTSD2SS */
    {0x5B, 0x5B, {SSE2 | A, SSE2 | A, SSE2 | A}},     /* CVTDQ2PS, CVTPS2DQ, CVTTPS2DQ */
    {0x5C, 0x5F, {SSE | A, SSE2 | A, SSE, SSE2}},     /* SUBPS ... MAXSD */
    {0x60, 0x6B, {MMX, SSE2 | A}},                    /* PUNPCKLBW ... PACKSSDW */
    {0x6C, 0x6D, {0, SSE2 | A}},                      /* PUNPCKLQDQ, PUNPCKHQDQ */
    {0x6E, 0x6E, {MMX, SSE2}},                        /* MOVD */
    {0x6F, 0x6F, {MMX, SSE2 | A, SSE2}},              /* MOVQ, MOVDQA, MOVDQU */
    {0x70, 0x70, {SSE, SSE2 | A, SSE2 | A, SSE2 | A}}, /* PSHUFW, PSHUFD, PSHUFHW, PSHUFLW */
    {0x71, 0x73, {MMX | R, SSE2 | R}},                /* shifts by a constant: see `shifts` */
    {0x74, 0x76, {MMX, SSE2 | A}},                    /* PCMPEQB ... PCMPEQD */
    {0x78, 0x79, {0}},
    {0x7C, 0x7D, {0, SSE3 | A, 0, SSE3 | A}},         /* HADDPD ... HSUBPS */
    {0x7E, 0x7E, {MMX, SSE2, SSE2}},                  /* MOVD, MOVQ */
    {0x7F, 0x7F, {MMX, SSE2 | A, SSE2}},              /* MOVQ, MOVDQA, MOVDQU */
    {0xC2, 0xC2, {SSE | A, SSE2 | A, SSE, SSE2}},     /* CMPPS ... CMPSD */
    {0xC3, 0xC3, {SSE2 | M}},                         /* MOVNTI */
    {0xC4, 0xC4, {SSE, SSE2}},                        /* PINSRW */
    {0xC5, 0xC5, {SSE | R, SSE2 | R}},                /* PEXTRW */
    {0xC6, 0xC6, {SSE | A, SSE2 | A}},                /* SHUFPS, SHUFPD */
    {0xD0, 0xD0, {0, SSE3 | A, 0, SSE3 | A}},         /* ADDSUBPD, ADDSUBPS */
    {0xD1, 0xD3, {MMX, SSE2 | A}},                    /* PSRLW, PSRLD, PSRLQ */
    {0xD4, 0xD4, {SSE2, SSE2 | A}},                   /* PADDQ */
    {0xD5, 0xD5, {MMX, SSE2 | A}},                    /* PMULLW */
    {0xD6, 0xD6, {0, SSE2, SSE2 | R, SSE2 | R}},      /* MOVQ, MOVQ2DQ, MOVDQ2Q */
    {0xD7, 0xD7, {SSE | R, SSE2 | R}},                /* PMOVMSKB */
    {0xD8, 0xD9, {MMX, SSE2 | A}},                    /* PSUBUSB, PSUBUSW */
    {0xDA, 0xDA, {SSE, SSE2 | A}},                    /* PMINUB */
    {0xDB, 0xDD, {MMX, SSE2 | A}},                    /* PAND, PADDUSB, PADDUSW */
    {0xDE, 0xDE, {SSE, SSE2 | A}},                    /* PMAXUB */
    {0xDF, 0xDF, {MMX, SSE2 | A}},                    /* PANDN */
    {0xE0, 0xE0, {SSE, SSE2 | A}},                    /* PAVGB */
    {0xE1, 0xE2, {MMX, SSE2 | A}},                    /* PSRAW, PSRAD */
    {0xE3, 0xE4, {SSE, SSE2 | A}},                    /* PAVGW, PMULHUW */
    {0xE5, 0xE5, {MMX, SSE2 | A}},                    /* PMULHW */
    {0xE6, 0xE6, {0, SSE2 | A, SSE2, SSE2 | A}},      /* CVTTPD2DQ, CVTDQ2PD, CVTPD2DQ */
    {0xE7, 0xE7, {SSE | M, SSE2 | M | A}},            /* MOVNTQ, MOVNTDQ */
    {0xE8, 0xE9, {MMX, SSE2 | A}},                    /* PSUBSB, PSUBSW */
    {0xEA, 0xEA, {SSE, SSE2 | A}},                    /* PMINSW */
    {0xEB, 0xED, {MMX, SSE2 | A}},                    /* POR, PADDSB, PADDSW */
    {0xEE, 0xEE, {SSE, SSE2 | A}},                    /* PMAXSW */
    {0xEF, 0xEF, {MMX, SSE2 | A}},                    /* PXOR */
    {0xF0, 0xF0, {0, 0, 0, SSE3 | M}},                /* LDDQU */
    {0xF1, 0xF3, {MMX, SSE2 | A}},                    /* PSLLW, PSLLD, PSLLQ */
    {0xF4, 0xF4, {SSE2, SSE2 | A}},                   /* PMULUDQ */
    {0xF5, 0xF5, {MMX, SSE2 | A}},                    /* PMADDWD */
    {0xF6, 0xF6, {SSE, SSE2 | A}},                    /* PSADBW */
    {0xF7, 0xF7, {SSE | R, SSE2 | R}},                /* MASKMOVQ, MASKMOVDQU */
    {0xF8, 0xFA, {MMX, SSE2 | A}},                    /* PSUBB, PSUBW, PSUBD */
    {0xFB, 0xFB, {SSE2, SSE2 | A}},                   /* PSUBQ */
    {0xFC, 0xFE, {MMX, SSE2 | A}},                    /* PADDB, PADDW, PADDD */
    {0x0E, 0x0F, {0}},                                /* 3DNow!, which another maker has */
    {0x38, 0x38, {0}},                                /* SSSE3 and later: three bytes */
    {0x3A, 0x3A, {0}},
};

/* Of 71h to 73h: which values of ModRM's reg field are instructions, without a prefix and with
 * 66h. */
static const uint8_t shifts[3][2] = {
    {1 << 2 | 1 << 4 | 1 << 6, 1 << 2 | 1 << 4 | 1 << 6},
    {1 << 2 | 1 << 4 | 1 << 6, 1 << 2 | 1 << 4 | 1 << 6},
    {1 << 2 | 1 << 6, 1 << 2 | 1 << 3 | 1 << 6 | 1 << 7},
};

static const struct row *find(uint8_t opcode)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].first <= opcode && opcode <= rows[i].last)
            return &rows[i];
    return NULL;
}

static int has(uint32_t edx, uint32_t ecx, unsigned feature)
{
    switch (feature) {
    case MMX: return edx >> 23 & 1;
    case SSE: return edx >> 25 & 1;
    case SSE2: return edx >> 26 & 1;
    case SSE3: return ecx & 1;
    default: return 0;
    }
}

int emu_sse_is_one(uint8_t opcode)
{
    return find(opcode) != NULL;
}

enum emu_sse_form emu_sse_form(uint8_t opcode, unsigned column, uint8_t modrm, uint32_t edx,
                               uint32_t ecx)
{
    uint8_t form = find(opcode)->forms[column];
    int is_register = modrm >= 0xC0;
    if (!has(edx, ecx, form & FEATURE) || (form & (is_register ? M : R)))
        return EMU_SSE_UNDEFINED;
    if (opcode >= 0x71 && opcode <= 0x73 &&
        !(shifts[opcode - 0x71][column] >> (modrm >> 3 & 7) & 1))
        return EMU_SSE_UNDEFINED;
    return (form & A) && !is_register ? EMU_SSE_ALIGNED : EMU_SSE_PLAIN;
}
