; tasks: a kernel that runs three tasks at once, in fifty lines.
;
; A task is a stack.  All that the processor is doing for it is in its registers; where those are on
; its stack and ESP is remembered, it can wait for ever.  A thousand times a second the timer
; interrupts whichever task runs: its registers go to its stack, another stack is taken, and what
; that task had is taken from there.  No task knows.
;
;       A's stack   | ... | EFLAGS CS EIP | EAX ECX EDX EBX ESP EBP ESI EDI |
;                                                                           ^ its ESP, remembered
;
; The three pass a baton on and print a line each time they have it.  Who has not just waits: a
; task that waits for another would wait for ever, if nobody took the processor from it.  A line
; takes longer than a tick, so each is begun in one turn and ended in another.
;
;       7C00    this program; the stack of the start-up code grows down from here
;       0600    IDT
;       10000   the stacks, 4 KiB each
;
; Source: Intel 80386 Programmer's Reference Manual, sections 9.6 (what an interrupt pushes), 9.9.

        cpu     486
        bits    16
        org     7C00h
%include "pc.inc"
%include "protected.inc"

IDT             equ     0600h
STACKS          equ     10000h
STACK_BYTES     equ     1000h
TASKS           equ     3
LAPS            equ     8
TICKS_HZ        equ     1000
TICKS_COUNT     equ     (PIT_HZ + TICKS_HZ / 2) / TICKS_HZ

start:  cli
        xor     ax, ax
        mov     ds, ax
        ENTER_PROTECTED_MODE

; ==== The kernel ====

; Make a stack for each task that looks as if it had just been interrupted, at its first
; instruction and with the registers 0 but EAX, its number.

        xor     ebx, ebx
.make:  lea     edi, [ebx + 1]
        shl     edi, 12                 ; times STACK_BYTES
        add     edi, STACKS - FRAME_BYTES
        mov     [stacks + ebx * 4], edi
        xor     eax, eax
        mov     ecx, FRAME_BYTES / 4
        push    edi
        rep     stosd
        pop     edi
        mov     [edi + FRAME_EAX], ebx
        mov     dword [edi + FRAME_EIP], task
        mov     dword [edi + FRAME_CS], CODE
        mov     dword [edi + FRAME_EFLAGS], FLAGS_IF | 1 << 1
        inc     ebx
        cmp     ebx, TASKS
        jb      .make
        mov     ebx, TICKS_COUNT
        call    start_timer
        mov     esp, [stacks]           ; the first one goes on from its interrupt
        popad
        iretd

; The timer: the next task's turn.
on_timer:
        pushad
        mov     al, OCW2_EOI
        out     MASTER, al
        mov     ebx, [current]
        mov     [stacks + ebx * 4], esp
        inc     ebx
        cmp     ebx, TASKS
        jb      .no_wrap
        xor     ebx, ebx
.no_wrap:
        mov     [current], ebx
        mov     esp, [stacks + ebx * 4]
        popad
        iretd

; What the timer's interrupt and PUSHAD leave on a stack, from ESP on.
FRAME_EAX       equ     28
FRAME_EIP       equ     32
FRAME_CS        equ     36
FRAME_EFLAGS    equ     40
FRAME_BYTES     equ     44

; ==== The tasks: the same program three times ====

; EAX = its number.  What it keeps in registers and on its stack is its own.
task:   mov     ebp, eax
        mov     edi, 1                  ; lap
.wait:  cmp     [baton], ebp
        je      .mine
        hlt                             ; until the next tick, when another task has its turn
        jmp     .wait
.mine:  mov     esi, text_task
        lea     eax, [ebp + 'A']
        call    print_character
        mov     eax, edi
        call    print_labelled
        mov     esi, text_new_line
        call    print_string
        cmp     edi, LAPS
        je      .last
.pass:  lea     eax, [ebp + 1]
        cmp     eax, TASKS
        jb      .next
        xor     eax, eax
.next:  inc     edi
        mov     [baton], eax            ; from here on the next one may print
        jmp     .wait

; The last task to have run its laps ends it all.

.last:  cmp     ebp, TASKS - 1
        jne     .pass
        mov     esi, text_done
        call    print_string
        jmp     serial_drain_and_end

print_character equ     serial_put

%include "kernel.inc"
%include "serial.inc"
%include "print.inc"

; ---- Data ----

        align   4, db 0
gates:  GATE    MASTER_VECTOR, on_timer, INTERRUPT_GATE
        GATE    SPURIOUS_VECTOR, on_spurious, INTERRUPT_GATE
.end:

stacks:         times   TASKS dd 0      ; each task's ESP, while it does not run
current:        dd      0               ; the task that runs
baton:          dd      0               ; the task that may print

text_task:      db      " has the baton, lap ", 0
text_new_line:  db      CR, LF, 0
text_done:      db      "All laps run.", CR, LF, 0
