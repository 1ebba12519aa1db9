; paging: memory that is not there until somebody touches it.
;
; The program below uses six pages of a heap at 1 GiB, on a machine that gives it three frames of
; memory.  None is mapped at first: each touch is a page fault, and the handler finds a frame, if
; need be by sending another page out, and lets the instruction be tried again.  A page that goes out
; is copied to a swap only if it has changed since it came: the processor notes that (bit D).
;
;       an address of 32 bits:  | directory 10 | table 10 | offset 12 |
;       CR3 -> directory: 1,024 entries -> table: 1,024 entries -> frame: 4 KiB
;
;       an entry:  31-12 frame | ... | 6 D dirty | 5 A accessed | 2 U/S | 1 R/W | 0 P present
;                  with P = 0 the processor looks at nothing else: the handler keeps SWAPPED there
;
;       error code of #PF:  bit 0  0: not present, 1: not allowed;  bit 1  1: a write
;
; Then two pages that share a frame until one is written to (copy on write), and a null pointer.
;
;       1000    IDT: the first page is nobody's, so that null pointers are found out
;       7C00    this program; the stack grows down from here
;       10000   directory, then the table of the first 4 MiB, then the heap's
;       20000   frames
;       30000   swap, a place for each page
;
; Source: Intel 80386 Programmer's Reference Manual, sections 5.2 (page translation), 6.4 (page-level
; protection), 9.8.14 (page fault); Intel486, "WP" in CR0.

        cpu     486
        bits    16
        org     7C00h
%include "pc.inc"
%include "protected.inc"

IDT             equ     1000h
DIRECTORY       equ     10000h
LOW_TABLE       equ     11000h
HEAP_TABLE      equ     12000h
FRAMES          equ     20000h
SWAP            equ     30000h

PAGE            equ     1000h
LOW_PAGES       equ     256             ; 1 MiB, mapped where it is
HEAP            equ     40000000h
HEAP_PAGES      equ     6
HEAP_FRAMES     equ     3
SHARED          equ     HEAP + 8 * PAGE ; two pages, one frame
SHARED_FRAME    equ     FRAMES + HEAP_FRAMES * PAGE
OWN_FRAME       equ     SHARED_FRAME + PAGE

PRESENT         equ     1 << 0
WRITABLE        equ     1 << 1
DIRTY           equ     1 << 6
SWAPPED         equ     1 << 1          ; ours, where PRESENT is 0

ERROR_PRESENT   equ     1 << 0
ERROR_WRITE     equ     1 << 1

CR0_PG          equ     1 << 31
CR0_WP          equ     1 << 16         ; read-only is read-only for ring 0, too

start:  cli
        xor     ax, ax
        mov     ds, ax
        ENTER_PROTECTED_MODE

; The tables: the first MiB but for its first page, which is where it is; the heap, empty.

        mov     edi, DIRECTORY
        mov     ecx, 3 * PAGE / 4
        xor     eax, eax
        rep     stosd
        mov     dword [DIRECTORY], LOW_TABLE | WRITABLE | PRESENT
        mov     dword [DIRECTORY + (HEAP >> 22) * 4], HEAP_TABLE | WRITABLE | PRESENT
        mov     eax, PAGE | WRITABLE | PRESENT
        mov     edi, LOW_TABLE + 4
.map:   stosd
        add     eax, PAGE
        cmp     edi, LOW_TABLE + LOW_PAGES * 4
        jb      .map
        mov     eax, DIRECTORY
        mov     cr3, eax
        mov     eax, cr0
        or      eax, CR0_PG | CR0_WP
        mov     cr0, eax

; ==== The program ====

; Write to each page of the heap, then read them all.

        mov     ebx, HEAP
        mov     eax, 1
.write: mov     [ebx], eax              ; a fault each
        inc     eax
        add     ebx, PAGE
        cmp     ebx, HEAP + HEAP_PAGES * PAGE
        jb      .write
        mov     ebx, HEAP
        xor     eax, eax
.read:  add     eax, [ebx]
        add     ebx, PAGE
        cmp     ebx, HEAP + HEAP_PAGES * PAGE
        jb      .read
        mov     esi, text_sum
        call    print_labelled
        call    print_line

; Two pages with one frame; the second is written to.

        mov     dword [SHARED_FRAME], 7
        mov     eax, SHARED_FRAME | PRESENT
        mov     [HEAP_TABLE + 8 * 4], eax
        mov     [HEAP_TABLE + 9 * 4], eax
        inc     dword [SHARED + PAGE]
        mov     esi, text_original
        mov     eax, [SHARED]
        call    print_labelled
        mov     esi, text_copy
        mov     eax, [SHARED + PAGE]
        call    print_labelled
        call    print_line

; A null pointer: nothing can be done about it but to go on elsewhere.

        mov     dword [recover], .recovered
        mov     eax, [0]
        mov     esi, text_wrong         ; not reached
        call    print_string
.recovered:
        jmp     serial_drain_and_end

; ==== The page fault ====

; The error code is on top of the stack, the address in CR2.  IRET tries the instruction again.
on_page_fault:
        pushad
        mov     ebx, cr2
        mov     ebp, [esp + 32]         ; the error code
        mov     esi, text_fault
        call    print_string
        mov     eax, ebx
        call    print_hex
        mov     esi, text_read
        test    ebp, ERROR_WRITE
        jz      .said
        mov     esi, text_write
.said:  call    print_string
        test    ebp, ERROR_PRESENT
        jnz     .not_allowed
        mov     edx, ebx
        sub     edx, HEAP
        cmp     edx, HEAP_PAGES * PAGE
        jae     .nowhere
        call    find_frame              ; EDI
        call    fill_frame
        mov     eax, edi
        or      eax, WRITABLE | PRESENT
        mov     [HEAP_TABLE + edx * 4], eax
        jmp     .end

; Not allowed: a write to a shared page.  The writer gets a frame of its own.

.not_allowed:
        mov     esi, SHARED_FRAME
        mov     edi, OWN_FRAME
        call    copy_page
        mov     dword [HEAP_TABLE + 9 * 4], OWN_FRAME | WRITABLE | PRESENT
        invlpg  [ebx]                   ; the processor may remember the old entry
        mov     esi, text_copied
        call    print_string
        mov     eax, OWN_FRAME
        call    print_hex
        jmp     .end

.nowhere:
        mov     esi, text_nowhere
        call    print_string
        mov     eax, [recover]
        mov     [esp + 36], eax         ; EIP, above the error code
.end:   call    print_line
        popad
        add     esp, 4                  ; IRET does not know of the error code
        iretd

; EDI = a frame that is free: one that nobody has had yet, or that of the page which came first.
; EBX is kept.
find_frame:
        movzx   eax, byte [next_frame]
        lea     edi, [eax * 4]
        shl     edi, 10                 ; times PAGE
        add     edi, FRAMES
        inc     eax
        cmp     al, HEAP_FRAMES
        jb      .no_wrap
        xor     eax, eax
.no_wrap:
        mov     [next_frame], al
        xor     ecx, ecx                ; whose is it?
.look:  mov     eax, [HEAP_TABLE + ecx * 4]
        test    al, PRESENT
        jz      .next
        and     eax, ~(PAGE - 1)
        cmp     eax, edi
        je      .evict
.next:  inc     ecx
        cmp     ecx, HEAP_PAGES
        jb      .look
        ret

; Send page number ECX out.  What is in the frame has to be kept if it is not in the swap.
.evict: mov     eax, ecx
        shl     eax, 12
        add     eax, HEAP
        call    print_hex
        mov     esi, text_dropped
        test    dword [HEAP_TABLE + ecx * 4], DIRTY
        jz      .out
        push    edi
        mov     esi, edi
        mov     edi, ecx
        shl     edi, 12
        add     edi, SWAP
        push    ecx
        call    copy_page
        pop     ecx
        pop     edi
        mov     esi, text_saved
.out:   mov     dword [HEAP_TABLE + ecx * 4], SWAPPED
        invlpg  [eax]
        jmp     print_string

; Put what belongs to the page at EBX into frame EDI: what was swapped out, or zeros.  EDX = the
; number of the page.
fill_frame:
        mov     edx, ebx
        sub     edx, HEAP
        shr     edx, 12
        test    dword [HEAP_TABLE + edx * 4], SWAPPED
        jz      .new
        mov     esi, edx
        shl     esi, 12
        add     esi, SWAP
        push    edi
        call    copy_page
        pop     edi
        mov     esi, text_back
        jmp     .say
.new:   push    edi
        mov     ecx, PAGE / 4
        xor     eax, eax
        rep     stosd
        pop     edi
        mov     esi, text_new
.say:   call    print_string
        mov     eax, edi
        jmp     print_hex

copy_page:
        mov     ecx, PAGE / 4
        rep     movsd
        ret

print_line:
        mov     esi, text_new_line
        jmp     print_string

print_character equ     serial_put

%include "kernel.inc"
%include "serial.inc"
%include "print.inc"
%include "hex.inc"

; ---- Data ----

        align   4, db 0
gates:  GATE    PAGE_FAULT, on_page_fault, INTERRUPT_GATE
.end:

recover:        dd      0               ; where to go on after a fault that cannot be mended
next_frame:     db      0

text_fault:     db      "fault at ", 0
text_read:      db      ", read: ", 0
text_write:     db      ", write: ", 0
text_dropped:   db      " goes, as it is in the swap; ", 0
text_saved:     db      " goes to the swap; ", 0
text_new:       db      "zeros in frame ", 0
text_back:      db      "from the swap to frame ", 0
text_copied:    db      "a copy of its own in frame ", 0
text_nowhere:   db      "nothing is there", 0
text_sum:       db      "the sum of six pages in three frames: ", 0
text_original:  db      "original ", 0
text_copy:      db      ", copy ", 0
text_wrong:     db      "a null pointer has been read"
text_new_line:  db      CR, LF, 0
