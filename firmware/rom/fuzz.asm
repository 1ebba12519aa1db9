; fuzz.rom: runs pieces of code from given states, and notes what became of each.
;
; The ROM takes the place of a BIOS.  Whoever runs it (tests/fuzz_qemu.py) hands in a batch of cases as
; the fw_cfg file opt/emu/guest and reads the records from memory when the ROM has ended by the
; debug exit (port F4h).  A case is a state and some code; it runs until its first exception, or in
; single steps.  Two machines whose records are the same are the same processor, as far as the
; cases can see.
;
; Every case finds the same memory but for its code, and the same tables.  The harness lies above
; 12 MiB, out of the reach of real mode; a case that destroys it all the same, or that shuts the
; processor down, is noted as lost: the reset that follows goes on with the next case.  A case that
; runs for ever is ended by the interval timer, as long as it lets it interrupt.
;
; A batch:  header (BATCH_...), pool of bytes that memory is filled from, cases of 128 bytes.
; Results:  header (RESULT_...), a record of 128 bytes for each case; then, for the cases that ask
;           for it, images of what the sandbox and the tables have become.
;
; Memory (the sandbox is the same in every mode; all else is there for a case to stumble over):
;
;       000000-0003FF   interrupt vectors of real mode
;       008000-008FFF   what of the harness must be below 1 MiB; 009000- what it saves
;       010000-010FFF   GDT, LDT, TSSs, IDT
;       011000-016FFF   page tables
;       040000-043FFF   the sandbox: code, data, more data, stack
;       400000-         the batch
;       800000-         the results; 900000- images
;       C00000-         the harness, its variables and templates; its stack
;
; Sources: Intel 64 and IA-32 Architectures Software Developer's Manual (SDM), volumes 1 to 3;
; QEMU, docs/specs/fw_cfg.

        cpu     katmai
        org     0
%include "pc.inc"
%include "processor.inc"

ROM_SEGMENT     equ     0F000h
ROM_BASE        equ     0FFFF0000h
ROM_ONLY        equ     0F000h          ; code that runs in the ROM
RESET_VECTOR    equ     0FFF0h

HARNESS_CR0     equ     CR0_PE | CR0_ET | CR0_NE
PAGE            equ     1000h

; ---- memory ----

LOW_SEGMENT     equ     0800h
LOW_SAVED       equ     PAGE            ; from LOW_SEGMENT
TABLES          equ     10000h
GDT             equ     TABLES
LDT             equ     TABLES + 200h
TSS             equ     TABLES + 300h   ; the case's task
TSS_B           equ     TABLES + 400h   ; one to switch to
TSS_DF          equ     TABLES + 500h   ; the double fault's
IDT             equ     TABLES + 800h
PAGING          equ     TABLES + PAGE
PAGE_DIRECTORY  equ     PAGING
PAGE_TABLE      equ     PAGING + PAGE
PAE_POINTERS    equ     PAGING + 2 * PAGE
PAE_DIRECTORY   equ     PAGING + 3 * PAGE
PAE_TABLE       equ     PAGING + 4 * PAGE
PAGING_BYTES    equ     5 * PAGE
SANDBOX         equ     40000h
SANDBOX_BYTES   equ     4 * PAGE
WINDOW_PAGES    equ     16              ; what is mapped as the case says, from SANDBOX on
BATCH           equ     400000h
BATCH_MOST      equ     80000h
RESULTS         equ     800000h
IMAGES          equ     900000h
HARNESS         equ     0C00000h
VARIABLES       equ     HARNESS + 10000h
HARNESS_STACK   equ     HARNESS + 1F000h
FAULT_STACK     equ     HARNESS + 1FF00h ; the double fault's
TABLES_IMAGE    equ     HARNESS + 20000h ; as every case finds them
PAGING_IMAGE    equ     HARNESS + 21000h
FLOATING_IMAGE  equ     HARNESS + 28000h ; an FXSAVE image
ROM_IMAGE       equ     HARNESS + 29000h ; the ROM's last page, where a machine lets it be written
ROM_PAGE        equ     0FFFFF000h
LARGE_PAGE      equ     HARNESS         ; the harness is mapped by one of 4 MiB, or two of 2 MiB

; ---- a batch: the header; all are 32 bits ----

BATCH_MAGIC     equ     0               ; RUNNING
BATCH_COUNT     equ     4               ; of cases
BATCH_WATCHDOG  equ     8               ; the timer's count, at most FFFFh
BATCH_POOL      equ     12              ; where the pool is, and the cases, in the batch
BATCH_CASES     equ     16

; ---- a case, and from STATE_CR0 to STATE_END a record too ----

CASE_BYTES      equ     128
CASE_MODE       equ     0               ; what is to be done to get there
CASE_STEPS      equ     1               ; so many single steps; 0: until an exception
CASE_LENGTH     equ     2               ; of the code, in bytes
CASE_FLAGS      equ     3
FLAG_FLOATING   equ     1 << 0          ; note x87, MMX and SSE registers
FLAG_IMAGE      equ     1 << 1          ; keep an image
CASE_POOL       equ     4               ; 16 bits: where in the pool memory is filled from
CASE_CODE_AT    equ     6               ; 16 bits: where in the sandbox the code goes
STATE_CR0       equ     8
STATE_CR4       equ     12
STATE_EAX       equ     16
STATE_ECX       equ     20
STATE_EDX       equ     24
STATE_EBX       equ     28
STATE_ESP       equ     32
STATE_EBP       equ     36
STATE_ESI       equ     40
STATE_EDI       equ     44
STATE_EFLAGS    equ     48
STATE_EIP       equ     52
STATE_CS        equ     56              ; 16 bits each
STATE_SS        equ     58
STATE_DS        equ     60
STATE_ES        equ     62
STATE_FS        equ     64
STATE_GS        equ     66
STATE_END       equ     68
CASE_WINDOW     equ     68              ; WINDOW_PAGES bytes: W_..., and bits 6-7 the page
CASE_CODE       equ     84
CASE_REGISTERS  equ     112             ; 16 bits: where in the pool x87's and XMM's are
CASE_FCW        equ     114             ; 16 bits
CASE_MXCSR      equ     116

W_FLAGS         equ     7               ; P, R/W, U/S
W_USED          equ     3 << 4          ; A, D: one bit further on in an entry

MODE_REAL       equ     1 << 0          ; real mode; else protected
MODE_UNREAL     equ     1 << 1          ; in real mode: segments of 4 GiB, a stack of 32 bits
MODE_PAGING     equ     1 << 2
MODE_PAE        equ     1 << 3

; ---- a record: what is not in a case ----

RECORD_STATUS   equ     0               ; the vector, and one of:
STATUS_EVENT    equ     1 << 8
STATUS_LOST     equ     1 << 9          ; the processor was reset
RECORD_ERROR    equ     4               ; error code
RECORD_CR2      equ     68
RECORD_DR6      equ     72
RECORD_DR7      equ     76
RECORD_STEPS    equ     80              ; done
RECORD_PATH     equ     84              ; a sum over the states at all of them
RECORD_MEMORY   equ     88              ; sums: the sandbox,
RECORD_TABLES   equ     92              ; GDT to IDT,
RECORD_PAGING   equ     96              ; page tables,
RECORD_FLOATING equ     100             ; FXSAVE's image, less FX_OPCODE and the pointers behind it
RECORD_TR       equ     104             ; 16 bits
RECORD_LDTR     equ     106
RECORD_IMAGE    equ     108             ; its image's number, from 1 on
RECORD_PDPTE    equ     112             ; the entry of PAE's first table that is used
RECORD_BYTES    equ     128

RESULT_MAGIC    equ     0
RESULT_CURRENT  equ     4               ; the case under way
RESULT_RESETS   equ     8
RESULT_IMAGES   equ     12              ; how many there are
RESULT_HEADER   equ     128

; ---- an image, in this order ----

IMAGE_SANDBOX   equ     SANDBOX_BYTES
IMAGE_TABLES    equ     PAGE
IMAGE_PAGES     equ     200h            ; what can have changed of the page tables
IMAGE_PAE       equ     400h
IMAGE_FLOATING  equ     200h
IMAGE_BYTES     equ     6000h
IMAGES_MOST     equ     (HARNESS - IMAGES) / IMAGE_BYTES

FX_TAGS         equ     4               ; in FXSAVE's image (SDM 1, table 10-2); 0 is FCW
FX_OPCODE       equ     6               ; then the instruction's pointer and its operand's
FX_MXCSR        equ     24
FX_REGISTERS    equ     32              ; x87's, then XMM's
FX_END          equ     288

RUNNING         equ     5A5A5546h
WATCHDOG        equ     70h             ; its vector: IRQ 0's

        section .harness start=0 vstart=HARNESS align=16
        section .tables follows=.harness vstart=TABLES align=16
        section .low    follows=.tables vstart=0 align=16
        section .vectors follows=.low vstart=0 align=16
        section .rom    start=ROM_ONLY vstart=ROM_ONLY align=1

        absolute VARIABLES
state:          resb    CASE_BYTES      ; the case, and its state as it goes on
dma:            resb    16
floating:       resb    512
directory:      resb    DIRECTORY_BYTES
current:        resd    1
steps_left:     resd    1
steps_done:     resd    1
path:           resd    1
event_vector:   resd    1
event_error:    resd    1
event_cr2:      resd    1
event_dr6:      resd    1
event_dr7:      resd    1
case_cr3:       resd    1

; ==== the tables of protected mode ========================================================

        section .tables

gdt_image:      dq      0
        SELECTOR CODE_32
                DESCRIPTOR 0, 0FFFFFh, EXECUTE_READ, FLAT
        SELECTOR DATA_32
                DESCRIPTOR 0, 0FFFFFh, READ_WRITE, FLAT
        SELECTOR CODE_LOW
                DESCRIPTOR LOW_SEGMENT << 4, 0FFFFh, EXECUTE_READ, SMALL
        SELECTOR DATA_LOW
                DESCRIPTOR 0, 0FFFFh, READ_WRITE, SMALL
        SELECTOR DATA_SPARE             ; 28h
                DESCRIPTOR 0, 0FFFFFh, READ_WRITE | DPL_3, FLAT
        SELECTOR CODE_16                ; 30h
                DESCRIPTOR SANDBOX, 0FFFFh, EXECUTE_READ, SMALL
        SELECTOR CODE_32_LEVEL_3
                DESCRIPTOR 0, 0FFFFFh, EXECUTE_READ | DPL_3, FLAT
        SELECTOR DATA_32_LEVEL_3        ; 40h
                DESCRIPTOR 0, 0FFFFFh, READ_WRITE | DPL_3, FLAT
        SELECTOR CODE_16_LEVEL_3
                DESCRIPTOR SANDBOX, 0FFFFh, EXECUTE_READ | DPL_3, SMALL
        SELECTOR DATA_16_LEVEL_3        ; 50h
                DESCRIPTOR SANDBOX + PAGE, 0FFFh, READ_WRITE | DPL_3, SMALL
        SELECTOR DATA_16
                DESCRIPTOR SANDBOX + PAGE, 0FFFh, READ_WRITE, SMALL
        SELECTOR STACK_16               ; 60h
                DESCRIPTOR SANDBOX, 0FFFFh, READ_WRITE, SMALL
        SELECTOR EXPAND_DOWN
                DESCRIPTOR 0, 0Fh, 97h | DPL_3, FLAT
        SELECTOR READ_ONLY              ; 70h
                DESCRIPTOR 0, 0FFFFFh, 91h | DPL_3, FLAT
        SELECTOR EXECUTE_ONLY
                DESCRIPTOR 0, 0FFFFFh, 99h, FLAT
        SELECTOR CONFORMING             ; 80h
                DESCRIPTOR 0, 0FFFFFh, 9Fh, FLAT
        SELECTOR DATA_ABSENT
                DESCRIPTOR 0, 0FFFFFh, 13h | DPL_3, FLAT
        SELECTOR CODE_ABSENT            ; 90h
                DESCRIPTOR 0, 0FFFFFh, 1Bh, FLAT
        SELECTOR LDT_SELECTOR
                DESCRIPTOR LDT, 1Fh, 82h, SMALL
        SELECTOR TSS_SELECTOR           ; A0h
                DESCRIPTOR TSS, 67h, 89h, SMALL
        SELECTOR TSS_B_SELECTOR
                DESCRIPTOR TSS_B, 67h, 89h, SMALL
        SELECTOR TSS_DF_SELECTOR        ; B0h
                DESCRIPTOR TSS_DF, 67h, 89h, SMALL
        SELECTOR CALL_GATE_32
                GATE    CODE_32, SANDBOX + 800h, CALL_32 | DPL_3, 1
        SELECTOR CALL_GATE_16           ; C0h
                GATE    CODE_16, 800h, CALL_16 | DPL_3, 2
        SELECTOR TASK_GATE_B
                GATE    TSS_B_SELECTOR, 0, TASK_GATE | DPL_3, 0
        SELECTOR TSS_BUSY               ; D0h
                DESCRIPTOR TSS_B, 67h, 8Bh, SMALL
        SELECTOR DATA_FRESH             ; not accessed yet
                DESCRIPTOR SANDBOX, 0FFFh, 92h | DPL_3, BYTES_32
        SELECTOR CONFORMING_LEVEL_3     ; E0h
                DESCRIPTOR 0, 0FFFFFh, 9Eh | DPL_3, FLAT
        SELECTOR DATA_LEVEL_1
                DESCRIPTOR 0, 0FFFFFh, READ_WRITE | DPL_1, FLAT
        SELECTOR CODE_LEVEL_1           ; F0h
                DESCRIPTOR 0, 0FFFFFh, EXECUTE_READ | DPL_1, FLAT
        SELECTOR NOTHING
                DESCRIPTOR 0, 0FFFFFh, PRESENT, SMALL
        SELECTOR BEYOND_GDT
        times   LDT - TABLES - ($ - $$) db 0

        dq      0
                DESCRIPTOR 0, 0FFFFFh, READ_WRITE, FLAT
                DESCRIPTOR SANDBOX, 0FFFFh, EXECUTE_READ, BYTES_32
                DESCRIPTOR SANDBOX, 1FFFh, READ_WRITE | DPL_3, BYTES_32
        times   TSS - TABLES - ($ - $$) db 0

; A task, SDM 3A figure 7-2: EIP, ESP, stack for level 0.
%macro TASK 3
%%task:         dd      0               ; link
                dd      %3, DATA_32     ; levels 0,
                dd      SANDBOX + 3E00h, DATA_LEVEL_1 | 1 ; 1,
                dd      0, 0            ; and 2
                dd      0               ; CR3
                dd      %1, ALWAYS, 0, 0, 0, 0
                dd      %2, 0, 0, 0
                dd      DATA_32, CODE_32, DATA_32, DATA_32, DATA_32, DATA_32
                dd      0               ; LDT
                dw      0, 68h          ; no I/O map
        times   100h - ($ - %%task) db 0
%endmacro
        TASK    0, 0, HARNESS_STACK
        TASK    SANDBOX + 900h, SANDBOX + 3F00h, HARNESS_STACK
        TASK    double_fault, FAULT_STACK, FAULT_STACK
        times   IDT - TABLES - ($ - $$) db 0

; The gates are made by `make_idt`, but for these.
GATES_SPECIAL   equ     20h
        times   8 * GATES_SPECIAL db 0
special_gates:
                GATE    0, 0, 0, 0                              ; 20h: in level 3's reach
                GATE    0, 0, 0, 0
                GATE    CODE_32, 0, INTERRUPT_32 & ~PRESENT | DPL_3, 0
                GATE    0, 0, INTERRUPT_32 | DPL_3, 0
                GATE    DATA_32, 0, INTERRUPT_32 | DPL_3, 0
                GATE    TSS_B_SELECTOR, 0, TASK_GATE | DPL_3, 0
                GATE    TSS_BUSY, 0, TASK_GATE | DPL_3, 0
                GATE    DATA_32, 0, TASK_GATE | DPL_3, 0
                GATE    CODE_32, 0, 80h | DPL_3, 0              ; no gate at all
                GATE    CODE_ABSENT, 0, INTERRUPT_32 | DPL_3, 0
                GATE    1F8h, 0, TRAP_32 | DPL_3, 0             ; beyond the GDT
                GATE    CODE_32_LEVEL_3, 0, TRAP_32 | DPL_3, 0  ; an outer level
SPECIAL_END     equ     GATES_SPECIAL + ($ - special_gates) / 8
        times   PAGE - ($ - $$) db 0

; ==== the harness =========================================================================

        section .harness
        bits    32

begin:
        mov     esp, HARNESS_STACK
        cld
        call    set_control
        in      al, PORT_92
        and     al, ~PORT_92_RESET
        or      al, PORT_92_A20
        out     PORT_92, al
        call    read_batch
        call    make_templates
        call    initialise_pic
        xor     eax, eax
        cmp     dword [RESULTS + RESULT_MAGIC], RUNNING
        jne     .first
        inc     dword [RESULTS + RESULT_RESETS]
        mov     eax, [RESULTS + RESULT_CURRENT]
        call    record_of
        mov     dword [edi + RECORD_STATUS], STATUS_LOST
        inc     eax
.first: mov     dword [RESULTS + RESULT_MAGIC], RUNNING
        call    fill_memory
        call    keep_rom
next_case:
        mov     [current], eax
        mov     [RESULTS + RESULT_CURRENT], eax
        cmp     eax, [BATCH + BATCH_COUNT]
        jae     the_end
        jmp     set_up

the_end:
        xor     eax, eax
        out     DEBUG_EXIT, al
.halt:  hlt
        jmp     .halt

; EDI = the record of case EAX.
record_of:
        mov     edi, eax
        imul    edi, RECORD_BYTES
        add     edi, RESULTS + RESULT_HEADER
        ret

; Control registers as the harness likes them.  Paging is off.
set_control:
        mov     eax, HARNESS_CR0
        mov     cr0, eax
        mov     eax, CR4_OSFXSR
        mov     cr4, eax
        ret

; ---- once ----

; Both interrupt controllers; only IRQ 0 comes through, and no end of interrupt is needed.
ICW4_AUTO_EOI   equ     1 << 1
OCW3_READ_IRR   equ     0Ah
initialise_pic:
        mov     al, ICW1_IC4
        out     MASTER, al
        out     SLAVE, al
        mov     al, WATCHDOG
        out     MASTER_DATA, al
        mov     al, WATCHDOG + 8
        out     SLAVE_DATA, al
        mov     al, ICW3_MASTER
        out     MASTER_DATA, al
        mov     al, ICW3_SLAVE
        out     SLAVE_DATA, al
        mov     al, ICW4_8086 | ICW4_AUTO_EOI
        out     MASTER_DATA, al
        out     SLAVE_DATA, al
        mov     al, 0FEh
        out     MASTER_DATA, al
        mov     al, 0FFh
        out     SLAVE_DATA, al
        mov     al, OCW3_READ_IRR
        out     MASTER, al
        ret

; INT3 wherever a case may stray to, but for VIDEO, where a machine may have no memory, and the ROM,
; which below 1 MiB may be the very memory that it is below 4 GiB.
INT3_4          equ     0CCCCCCCCh
VIDEO           equ     0A0000h
VIDEO_END       equ     0C0000h
ROM_LOW         equ     0F0000h
ROM_LOW_END     equ     100000h
fill_memory:
        push    eax
        mov     eax, INT3_4
        xor     edi, edi
        mov     ecx, VIDEO / 4
        rep     stosd
        mov     edi, VIDEO_END
        mov     ecx, (ROM_LOW - VIDEO_END) / 4
        rep     stosd
        mov     edi, ROM_LOW_END
        mov     ecx, (BATCH - ROM_LOW_END) / 4
        rep     stosd
        mov     edi, BATCH + BATCH_MOST
        mov     ecx, (RESULTS - BATCH - BATCH_MOST) / 4
        rep     stosd
        pop     eax
        ret

keep_rom:
        mov     esi, ROM_PAGE
        mov     edi, ROM_IMAGE
        mov     ecx, PAGE / 4
        rep     movsd
        ret

; Put it back if it has been written to.
restore_rom:
        mov     esi, ROM_IMAGE
        mov     edi, ROM_PAGE
        mov     ecx, PAGE / 4
        repe    cmpsd
        je      .same
        mov     esi, ROM_IMAGE
        mov     edi, ROM_PAGE
        mov     ecx, PAGE / 4
        rep     movsd
.same:  ret

; Read the whole batch by fw_cfg's DMA; where there is none, the machine halts.
FW_CFG_DMA_LOW  equ     518h
FW_CFG_DIRECTORY equ    19h
DMA_SELECT_READ equ     1 << 1 | 1 << 3
ENTRY_BYTES     equ     64              ; in the directory: size, selector, 0, name; big-endian
DIRECTORY_BYTES equ     1000h
read_batch:
        mov     eax, FW_CFG_DIRECTORY
        mov     ecx, DIRECTORY_BYTES
        mov     edi, directory
        call    read_item
        mov     ebx, directory + 4
        mov     ecx, [directory]
        bswap   ecx
.entry: test    ecx, ecx
        jz      the_end
        lea     edi, [ebx + 8]
        mov     esi, batch_name
        push    ecx
        mov     ecx, BATCH_NAME_BYTES
        repe    cmpsb
        pop     ecx
        je      .found
        add     ebx, ENTRY_BYTES
        dec     ecx
        jmp     .entry
.found: movzx   eax, word [ebx + 4]
        xchg    al, ah
        mov     ecx, BATCH_MOST
        mov     edi, BATCH
        call    read_item
        ret

batch_name:     db      "opt/emu/guest", 0
BATCH_NAME_BYTES equ    $ - batch_name

; Read ECX bytes of item EAX to EDI.  Past its end an item is all zeros.
read_item:
        shl     eax, 16
        or      eax, DMA_SELECT_READ
        bswap   eax
        mov     [dma], eax
        bswap   ecx
        mov     [dma + 4], ecx
        mov     dword [dma + 8], 0
        bswap   edi
        mov     [dma + 12], edi
        mov     eax, dma
        bswap   eax
        mov     edx, FW_CFG_DMA_LOW
        out     dx, eax
.wait:  cmp     dword [dma], 0
        jne     .wait
        ret

; What every case is given a copy of.
make_templates:
        mov     esi, tables_in_harness
        mov     edi, TABLES_IMAGE
        mov     ecx, PAGE / 4
        rep     movsd
; the IDT: interrupt gates to the stubs, and those of the template in their places
        mov     edi, TABLES_IMAGE + (IDT - TABLES)
        mov     esi, stubs
        xor     ecx, ecx
.gate:  cmp     ecx, GATES_SPECIAL + 2
        jb      .plain
        cmp     ecx, SPECIAL_END
        jb      .next
.plain: mov     eax, esi
        movzx   edx, ax
        or      edx, CODE_32 << 16
        mov     [edi], edx
        mov     ax, INTERRUPT_32 << 8
        cmp     cl, 3                   ; INT3 and INTO, the two special ones, and every other of the
        je      .outer                  ; last may be called from level 3
        cmp     cl, 4
        je      .outer
        cmp     cl, GATES_SPECIAL
        jb      .set
        cmp     cl, GATES_SPECIAL + 2
        jb      .outer
        test    cl, 1
        jz      .set
.outer: or      ah, DPL_3
.set:   mov     [edi + 4], eax
.next:  add     edi, 8
        add     esi, STUB_BYTES
        inc     ecx
        cmp     ecx, 256
        jb      .gate
        mov     edi, TABLES_IMAGE + (IDT - TABLES) + 8 * 8
        mov     dword [edi], TSS_DF_SELECTOR << 16
        mov     dword [edi + 4], (PRESENT | TASK_GATE) << 8
; page tables of two levels: the first MiB but for what is between tables and sandbox, and harness
        mov     edi, PAGING_IMAGE
        mov     ecx, PAGING_BYTES / 4
        xor     eax, eax
        rep     stosd
        mov     dword [PAGING_IMAGE], PAGE_TABLE | 7
        mov     dword [PAGING_IMAGE + (LARGE_PAGE >> 22) * 4], LARGE_PAGE | 83h
        mov     edi, PAGING_IMAGE + (PAGE_TABLE - PAGING)
        mov     eax, 3
.small: stosd
        add     eax, PAGE
        cmp     eax, SANDBOX / 2
        jb      .small
; and of three
        mov     dword [PAGING_IMAGE + (PAE_POINTERS - PAGING)], PAE_DIRECTORY | 1
        mov     edi, PAGING_IMAGE + (PAE_DIRECTORY - PAGING)
        mov     dword [edi], PAE_TABLE | 7
        mov     dword [edi + (LARGE_PAGE >> 21) * 8], LARGE_PAGE | 83h
        mov     edi, PAGING_IMAGE + (PAE_TABLE - PAGING)
        mov     eax, 3
.pae:   mov     [edi], eax
        add     edi, 8
        add     eax, PAGE
        cmp     eax, SANDBOX / 2
        jb      .pae
; floating point: as FNINIT leaves it, but with all registers in use
        fninit
        mov     dword [floating], 1F80h
        ldmxcsr [floating]
        fxsave  [FLOATING_IMAGE]
        mov     byte [FLOATING_IMAGE + FX_TAGS], 0FFh
        ret

; ---- each case ----

; Copy ECX pieces of 128 bytes from ESI to EDI, which is aligned.  Uses XMM registers.
copy:
%assign at 0
%rep 8
        movups  xmm %+ at, [esi + 16 * at]
%assign at at + 1
%endrep
%assign at 0
%rep 8
        movaps  [edi + 16 * at], xmm %+ at
%assign at at + 1
%endrep
        add     esi, 128
        add     edi, 128
        dec     ecx
        jnz     copy
        ret

; EAX = a sum over ECX pieces of 128 bytes from ESI on.
sum:
        xor     eax, eax
.piece:
%assign at 0
%rep 32
        add     eax, [esi + 4 * at]
        rol     eax, 7
%assign at at + 1
%endrep
        add     esi, 128
        dec     ecx
        jnz     .piece
        ret

; Case EAX: memory, tables, and all that is loaded once.
set_up:
        shl     eax, 7
        mov     esi, [BATCH + BATCH_CASES]
        lea     esi, [esi + eax + BATCH]
        mov     edi, state
        mov     ecx, CASE_BYTES / 128
        call    copy
        mov     ebp, state
        movzx   esi, word [ebp + CASE_POOL]
        add     esi, [BATCH + BATCH_POOL]
        add     esi, BATCH
        mov     edi, SANDBOX
        mov     ecx, SANDBOX_BYTES / 128
        call    copy
        movzx   edi, word [ebp + CASE_CODE_AT]
        add     edi, SANDBOX
        lea     esi, [ebp + CASE_CODE]
        movzx   ecx, byte [ebp + CASE_LENGTH]
        rep     movsb
        call    restore_rom
        mov     esi, TABLES_IMAGE
        mov     edi, TABLES
        mov     ecx, PAGE / 128
        call    copy
        test    byte [ebp + CASE_MODE], MODE_REAL
        jz      .protected
        mov     esi, vectors_in_harness
        xor     edi, edi
        mov     ecx, 400h / 128
        call    copy
        mov     esi, low_in_harness
        mov     edi, LOW_SEGMENT << 4
        mov     ecx, LOW_BYTES / 4
        repe    cmpsd                   ; as writing where code is takes longer
        je      .tables
        mov     esi, low_in_harness
        mov     edi, LOW_SEGMENT << 4
        mov     ecx, LOW_BYTES / 4
        rep     movsd
        jmp     .tables
.protected:
        test    byte [ebp + CASE_MODE], MODE_PAGING
        jz      .tables
        call    make_window
.tables:
        lgdt    [gdt_pointer]
        lidt    [idt_pointer]
        mov     ax, TSS_SELECTOR
        ltr     ax
        mov     ax, LDT_SELECTOR
        lldt    ax
        xor     eax, eax
        mov     cr2, eax
        mov     dr0, eax
        mov     eax, DR6_RESET
        mov     dr6, eax
        mov     eax, DR7_RESET
        mov     dr7, eax
        movzx   esi, word [ebp + CASE_REGISTERS]
        add     esi, [BATCH + BATCH_POOL]
        add     esi, BATCH
        mov     edi, FLOATING_IMAGE + FX_REGISTERS
        mov     ecx, 2 * 8 * 16 / 128
        call    copy
        mov     ax, [ebp + CASE_FCW]
        mov     [FLOATING_IMAGE], ax
        mov     eax, [ebp + CASE_MXCSR]
        mov     [FLOATING_IMAGE + FX_MXCSR], eax
        fxrstor [FLOATING_IMAGE]
        movzx   eax, byte [ebp + CASE_STEPS]
        mov     [steps_left], eax
        xor     eax, eax
        mov     [steps_done], eax
        mov     [path], eax
        call    wind_up
        jmp     enter

; Map the window as the case says.
make_window:
        mov     esi, PAGING_IMAGE
        mov     edi, PAGING
        mov     ecx, PAGING_BYTES / 128
        call    copy
        xor     ecx, ecx
.page:  movzx   eax, byte [ebp + CASE_WINDOW + ecx]
        mov     edx, eax
        and     edx, W_USED
        lea     edx, [edx * 2]
        mov     ebx, eax
        and     ebx, W_FLAGS
        or      edx, ebx
        shr     eax, 6
        shl     eax, 12
        lea     eax, [eax + edx + SANDBOX]
        mov     [PAGE_TABLE + (SANDBOX >> 12) * 4 + ecx * 4], eax
        mov     [PAE_TABLE + (SANDBOX >> 12) * 8 + ecx * 8], eax
        inc     ecx
        cmp     ecx, WINDOW_PAGES
        jb      .page
        mov     eax, PAGE_DIRECTORY
        test    byte [ebp + CASE_MODE], MODE_PAE
        jz      .set
        mov     eax, PAE_POINTERS
.set:   mov     [case_cr3], eax
        mov     [TSS + TSS_CR3], eax
        mov     [TSS_B + TSS_CR3], eax
        mov     [TSS_DF + TSS_CR3], eax
        ret

; Start the timer: its only interrupt comes when the case has had its time.
PIT_MODE_0      equ     30h             ; counter 0, low byte then high, mode 0
wind_up:
        mov     al, PIT_MODE_0
        out     PIT_CONTROL, al
        in      al, MASTER
        test    al, 1                   ; the last one's interrupt was still to come
        jz      .clear
        call    initialise_pic
.clear: mov     eax, [BATCH + BATCH_WATCHDOG]
        out     PIT_COUNTER_0, al
        mov     al, ah
        out     PIT_COUNTER_0, al
        ret

; Go to the state in `state`, EBP.
enter:
        test    byte [ebp + CASE_MODE], MODE_REAL
        jnz     enter_real
        mov     eax, [ebp + STATE_CR4]
        mov     cr4, eax
        mov     eax, [case_cr3]
        mov     cr3, eax
        mov     eax, [ebp + STATE_CR0]
        mov     cr0, eax
        jmp     .go
.go:    test    dword [ebp + STATE_EFLAGS], VM
        jnz     .virtual
        test    byte [ebp + STATE_CS], 3
        jnz     .outer
        mov     ss, [ebp + STATE_SS]
        mov     esp, [ds:ebp + STATE_ESP]
        jmp     .frame
.virtual:
        movzx   eax, word [ebp + STATE_GS]
        push    eax
        movzx   eax, word [ebp + STATE_FS]
        push    eax
        movzx   eax, word [ebp + STATE_DS]
        push    eax
        movzx   eax, word [ebp + STATE_ES]
        push    eax
.outer: movzx   eax, word [ebp + STATE_SS]
        push    eax
        push    dword [ds:ebp + STATE_ESP]
.frame: push    dword [ds:ebp + STATE_EFLAGS]
        movzx   eax, word [ds:ebp + STATE_CS]
        push    eax
        push    dword [ds:ebp + STATE_EIP]
        test    dword [ds:ebp + STATE_EFLAGS], VM
        jnz     .registers
        mov     es, [ds:ebp + STATE_ES]
        mov     fs, [ds:ebp + STATE_FS]
        mov     gs, [ds:ebp + STATE_GS]
        mov     ds, [ds:ebp + STATE_DS]
.registers:
        mov     eax, [cs:state + STATE_EAX]
        mov     ecx, [cs:state + STATE_ECX]
        mov     edx, [cs:state + STATE_EDX]
        mov     ebx, [cs:state + STATE_EBX]
        mov     ebp, [cs:state + STATE_EBP]
        mov     esi, [cs:state + STATE_ESI]
        mov     edi, [cs:state + STATE_EDI]
        iretd

enter_real:
        mov     esi, ebp
        mov     edi, (LOW_SEGMENT << 4) + LOW_SAVED
        mov     ecx, STATE_END / 4
        rep     movsd
        jmp     CODE_LOW:low_enter

; ---- an exception ----

STUB_BYTES      equ     16
        align   16
stubs:
%assign vector 0
%rep 256
        %if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
        nop
        nop
        %else
        push    byte 0
        %endif
        push    dword vector
        jmp     near event
        align   STUB_BYTES
%assign vector vector + 1
%endrep

; On the stack, from ESP: vector, error code, EIP, CS, EFLAGS; ESP, SS; ES, DS, FS, GS.
event:
        push    eax
        push    ds
        mov     eax, DATA_32
        mov     ds, eax
        mov     [state + STATE_ECX], ecx
        mov     [state + STATE_EDX], edx
        mov     [state + STATE_EBX], ebx
        mov     [state + STATE_EBP], ebp
        mov     [state + STATE_ESI], esi
        mov     [state + STATE_EDI], edi
        mov     [state + STATE_ES], es
        mov     [state + STATE_FS], fs
        mov     [state + STATE_GS], gs
        mov     eax, ss
        mov     [state + STATE_SS], ax
        lea     ebx, [esp + 28]         ; what ESP was, had there been no change of stacks
        mov     ebp, esp
        lar     eax, eax
        jnz     .small
        test    eax, 1 << 22
        jnz     .large
.small: movzx   ebp, bp
        mov     ebx, esp
        add     bx, 28
.large: mov     [state + STATE_ESP], ebx
        mov     eax, [ss:ebp]
        mov     [state + STATE_DS], ax
        mov     eax, [ss:ebp + 4]
        mov     [state + STATE_EAX], eax
        mov     eax, [ss:ebp + 8]
        mov     [event_vector], eax
        mov     dword [ss:ebp + 8], 0   ; noted once is enough: it is in no sum over memory
        mov     eax, [ss:ebp + 12]
        mov     [event_error], eax
        mov     eax, [ss:ebp + 16]
        mov     [state + STATE_EIP], eax
        mov     ecx, [ss:ebp + 20]
        mov     [state + STATE_CS], cx
        mov     eax, [ss:ebp + 24]
        mov     [state + STATE_EFLAGS], eax
        mov     dword [ss:ebp + 24], 0
        test    eax, VM
        jnz     .virtual
        test    cl, 3
        jnz     .outer
        jmp     to_harness
.virtual:
        mov     eax, [ss:ebp + 36]
        mov     [state + STATE_ES], ax
        mov     eax, [ss:ebp + 40]
        mov     [state + STATE_DS], ax
        mov     eax, [ss:ebp + 44]
        mov     [state + STATE_FS], ax
        mov     eax, [ss:ebp + 48]
        mov     [state + STATE_GS], ax
.outer: mov     eax, [ss:ebp + 28]
        mov     [state + STATE_ESP], eax
        mov     eax, [ss:ebp + 32]
        mov     [state + STATE_SS], ax

; Leave the case's stack and its paging.
to_harness:
        mov     eax, DATA_32
        mov     ss, eax
        mov     esp, HARNESS_STACK
        mov     es, eax
        mov     ebp, state
        mov     eax, cr0
        mov     [ebp + STATE_CR0], eax
        mov     eax, cr4
        mov     [ebp + STATE_CR4], eax
        mov     eax, cr2
        mov     [event_cr2], eax
        jmp     ended

; A double fault comes by a task gate: the state is in the TSS that the link names.
double_fault:
        mov     ebp, state
        movzx   ebx, word [TSS_DF + TSS_LINK]
        and     ebx, 0FFF8h
        mov     edx, TSS
        cmp     ebx, TSS_SELECTOR
        je      .saved
        mov     edx, TSS_B
.saved: lea     esi, [edx + TSS_EAX]
        lea     edi, [ebp + STATE_EAX]
        mov     ecx, 8
        cld
        rep     movsd
%macro TAKE 2
        mov     eax, [edx + TSS_%1]
        mov     [ebp + STATE_%1], %2
%endmacro
        TAKE    EIP, eax
        TAKE    EFLAGS, eax
        mov     dword [edx + TSS_EFLAGS], 0 ; as in `event`
        TAKE    CS, ax
        TAKE    SS, ax
        TAKE    DS, ax
        TAKE    ES, ax
        TAKE    FS, ax
        TAKE    GS, ax
        mov     dword [event_vector], 8
        mov     eax, [esp]
        mov     [event_error], eax
        jmp     to_harness

; From real mode.
back_from_real:
        mov     eax, DATA_32
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     esp, HARNESS_STACK
        cld
        mov     ebp, state
        mov     esi, (LOW_SEGMENT << 4) + LOW_SAVED + STATE_CR0
        lea     edi, [ebp + STATE_CR0]
        mov     ecx, (STATE_END - STATE_CR0) / 4
        rep     movsd
        mov     eax, cr4
        mov     [ebp + STATE_CR4], eax
        mov     eax, LOW_SEGMENT
        sub     ax, [(LOW_SEGMENT << 4) + LOW_SAVED] ; see `low_event`
        mov     [event_vector], eax
        mov     dword [event_error], 0
        mov     dword [event_cr2], 0

; The case has come to an end, or to that of a step.
ended:
        push    dword ALWAYS
        popfd
        mov     eax, dr6
        mov     [event_dr6], eax
        mov     eax, dr7
        mov     [event_dr7], eax
        call    set_control
        lgdt    [gdt_pointer]
        lidt    [idt_pointer]
        cmp     dword [event_vector], 1
        jne     make_record
        test    dword [event_dr6], DR6_BS
        jz      make_record
        cmp     dword [steps_left], 0
        je      make_record
        dec     dword [steps_left]
        inc     dword [steps_done]
        mov     eax, [path]
%assign at STATE_EAX
%rep (STATE_END - STATE_EAX) / 4
        add     eax, [ebp + at]
        rol     eax, 7
%assign at at + 4
%endrep
        mov     [path], eax
        mov     eax, DR6_RESET
        mov     dr6, eax
        jmp     enter

make_record:
        test    byte [ebp + CASE_FLAGS], FLAG_FLOATING
        jz      .floating
        fxsave  [floating]
        xor     eax, eax                ; not every machine notes which instruction was the last
        mov     [floating + FX_OPCODE], ax
%assign at FX_OPCODE + 2
%rep (FX_MXCSR - FX_OPCODE - 2) / 4
        mov     [floating + at], eax
%assign at at + 4
%endrep
.floating:
        mov     eax, [current]
        call    record_of
        push    edi
        mov     esi, state
        mov     ecx, STATE_END / 4
        rep     movsd
        pop     edi
        movzx   eax, byte [event_vector]
        or      eax, STATUS_EVENT
        mov     [edi + RECORD_STATUS], eax
%macro NOTE 2
        mov     eax, [%2]
        mov     [edi + RECORD_%1], eax
%endmacro
        NOTE    ERROR, event_error
        NOTE    CR2, event_cr2
        NOTE    DR6, event_dr6
        NOTE    DR7, event_dr7
        NOTE    STEPS, steps_done
        NOTE    PATH, path
        str     [edi + RECORD_TR]
        sldt    [edi + RECORD_LDTR]
        mov     esi, SANDBOX
        mov     ecx, SANDBOX_BYTES / 128
        call    sum
        mov     [edi + RECORD_MEMORY], eax
        mov     esi, TABLES
        mov     ecx, PAGE / 128
        call    sum
        mov     [edi + RECORD_TABLES], eax
        test    byte [ebp + CASE_MODE], MODE_PAGING
        jz      .paging
        xor     ebx, ebx                ; a sum apart for what is used alone
        xchg    ebx, [PAE_POINTERS]
        mov     [edi + RECORD_PDPTE], ebx
        mov     esi, PAGING
        mov     ecx, PAGING_BYTES / 128
        call    sum
        mov     [edi + RECORD_PAGING], eax
.paging:
        test    byte [ebp + CASE_FLAGS], FLAG_FLOATING
        jz      .sums
        mov     esi, floating
        mov     ecx, FX_END / 4
        xor     eax, eax
.sum:   add     eax, [esi + 4 * ecx - 4]
        rol     eax, 7
        loop    .sum
        mov     [edi + RECORD_FLOATING], eax
.sums:  test    byte [ebp + CASE_FLAGS], FLAG_IMAGE
        jz      .done
        mov     eax, [RESULTS + RESULT_IMAGES]
        cmp     eax, IMAGES_MOST
        jae     .done
        inc     eax
        mov     [RESULTS + RESULT_IMAGES], eax
        mov     [edi + RECORD_IMAGE], eax
        imul    edi, eax, IMAGE_BYTES
        add     edi, IMAGES - IMAGE_BYTES
%macro KEEP 2
        mov     esi, %1
        mov     ecx, %2 / 128
        call    copy
%endmacro
        KEEP    SANDBOX, IMAGE_SANDBOX
        KEEP    TABLES, IMAGE_TABLES
        KEEP    PAGE_TABLE, IMAGE_PAGES
        KEEP    PAE_TABLE, IMAGE_PAE
        KEEP    floating, IMAGE_FLOATING
.done:  mov     eax, [current]
        inc     eax
        jmp     next_case

gdt_pointer:    dw      BEYOND_GDT - 1
                dd      GDT
idt_pointer:    dw      8 * 80h - 1
                dd      IDT
        align   16
; The other sections follow in the ROM, and in its copy.
tables_in_harness:
low_in_harness  equ     tables_in_harness + PAGE
vectors_in_harness equ  low_in_harness + LOW_BYTES

; ==== what must be below 1 MiB ============================================================

        section .low
        bits    16

; An exception in real mode.  Every vector leads here, vector N by way of segment LOW_SEGMENT - N;
; so CS tells which it was.
low_event:
        push    cs
        jmp     LOW_SEGMENT:.here
.here:  mov     [cs:LOW_SAVED + STATE_EAX], eax
        pop     ax
        mov     [cs:LOW_SAVED], ax
        push    word 0
        pop     ax
        mov     [cs:LOW_SAVED + STATE_ECX], ecx
        mov     [cs:LOW_SAVED + STATE_EDX], edx
        mov     [cs:LOW_SAVED + STATE_EBX], ebx
        mov     [cs:LOW_SAVED + STATE_EBP], ebp
        mov     [cs:LOW_SAVED + STATE_ESI], esi
        mov     [cs:LOW_SAVED + STATE_EDI], edi
        mov     [cs:LOW_SAVED + STATE_SS], ss
        mov     [cs:LOW_SAVED + STATE_DS], ds
        mov     [cs:LOW_SAVED + STATE_ES], es
        mov     [cs:LOW_SAVED + STATE_FS], fs
        mov     [cs:LOW_SAVED + STATE_GS], gs
        mov     eax, cr0
        mov     [cs:LOW_SAVED + STATE_CR0], eax
        mov     ebp, esp
        lea     ebx, [esp + 6]
        test    byte [cs:LOW_SAVED + 2], MODE_UNREAL
        jnz     .large
        movzx   ebp, bp
        mov     ebx, esp
        add     bx, 6
.large: mov     [cs:LOW_SAVED + STATE_ESP], ebx
        movzx   eax, word [ss:ebp]
        mov     [cs:LOW_SAVED + STATE_EIP], eax
        mov     ax, [ss:ebp + 2]
        mov     [cs:LOW_SAVED + STATE_CS], ax
        movzx   eax, word [ss:ebp + 4]
        mov     [cs:LOW_SAVED + STATE_EFLAGS], eax
        mov     word [ss:ebp + 4], 0    ; as in `event`
        o32 lgdt [cs:low_gdt_pointer]
        mov     eax, HARNESS_CR0
        mov     cr0, eax
        jmp     dword CODE_32:back_from_real

; To real mode, from protected mode of 16 bits.
low_enter:
        mov     ax, DATA_LOW
        mov     bl, [cs:LOW_SAVED + CASE_MODE]
        mov     [LOW_SAVED + (LOW_SEGMENT << 4) + 2], bl ; DS is still flat
        test    bl, MODE_UNREAL
        jz      .limits
        mov     ax, DATA_32
.limits:
        mov     ss, ax
        mov     ds, ax
        mov     es, ax
        mov     fs, ax
        mov     gs, ax
        mov     eax, [cs:LOW_SAVED + STATE_CR0]
        mov     cr0, eax
        jmp     LOW_SEGMENT:.real
.real:  o32 lidt [cs:low_idt_pointer]
        mov     ss, [cs:LOW_SAVED + STATE_SS]
        mov     esp, [cs:LOW_SAVED + STATE_ESP]
        push    dword [cs:LOW_SAVED + STATE_EFLAGS]
        push    word 0
        push    word [cs:LOW_SAVED + STATE_CS]
        push    dword [cs:LOW_SAVED + STATE_EIP]
        mov     ds, [cs:LOW_SAVED + STATE_DS]
        mov     es, [cs:LOW_SAVED + STATE_ES]
        mov     fs, [cs:LOW_SAVED + STATE_FS]
        mov     gs, [cs:LOW_SAVED + STATE_GS]
        mov     eax, [cs:LOW_SAVED + STATE_EAX]
        mov     ecx, [cs:LOW_SAVED + STATE_ECX]
        mov     edx, [cs:LOW_SAVED + STATE_EDX]
        mov     ebx, [cs:LOW_SAVED + STATE_EBX]
        mov     ebp, [cs:LOW_SAVED + STATE_EBP]
        mov     esi, [cs:LOW_SAVED + STATE_ESI]
        mov     edi, [cs:LOW_SAVED + STATE_EDI]
        iretd

low_gdt_pointer: dw     BEYOND_GDT - 1
                dd      GDT
low_idt_pointer: dw     3FFh
                dd      0
        align   16
LOW_BYTES       equ     $ - $$

        section .vectors
%assign vector 0
%rep 256
        dw      vector * 16, LOW_SEGMENT - vector
%assign vector vector + 1
%endrep

; ==== power-on and reset ==================================================================

        section .rom
        bits    16
power_on:
        cli
        o32 lgdt [cs:boot_gdt_pointer]
        mov     eax, HARNESS_CR0
        mov     cr0, eax
        jmp     dword 8:ROM_BASE + boot

        bits    32
boot:
        mov     ax, 10h
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     esi, ROM_BASE
        mov     edi, HARNESS
        mov     ecx, ROM_ONLY / 4
        cld
        rep     movsd
        jmp     8:begin

boot_gdt_pointer:
                dw      boot_gdt_end - boot_gdt - 1
                dd      ROM_BASE + boot_gdt
boot_gdt:       dq      0
                DESCRIPTOR 0, 0FFFFFh, EXECUTE_READ, FLAT
                DESCRIPTOR 0, 0FFFFFh, READ_WRITE, FLAT
boot_gdt_end:

        bits    16
        times   RESET_VECTOR - ROM_ONLY - ($ - $$) db 0FFh
        jmp     ROM_SEGMENT:power_on
        times   1000h - ($ - $$) db 0FFh
