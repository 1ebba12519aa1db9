; Page faults: 1,024 pages a round, each touched while it is absent and mapped by the handler of #PF.

%include "rom.inc"

PF              equ     14
PRESENT         equ     1
WRITABLE        equ     2

DIRECTORY       equ     DATA
LOW_TABLE       equ     DATA + 1000h    ; for 0-3FFFFF, one to one
TABLE           equ     DATA + 2000h    ; for the pages to be touched, all of which are one page
PAGE            equ     DATA + 3000h
WINDOW          equ     400000h
PAGES           equ     1024
ENTRY           equ     PAGE | WRITABLE

benchmark:
        SET_GATE PF, page_fault, GATE_0
        mov     edi, DIRECTORY
        mov     ecx, 1024
        xor     eax, eax
        rep     stosd
        mov     dword [DIRECTORY], LOW_TABLE | WRITABLE | PRESENT
        mov     dword [DIRECTORY + 4], TABLE | WRITABLE | PRESENT
        mov     edi, LOW_TABLE
        mov     eax, WRITABLE | PRESENT
.map:   stosd
        add     eax, 1000h
        cmp     eax, WINDOW
        jb      .map
        mov     eax, DIRECTORY
        mov     cr3, eax
        mov     eax, cr0
        or      eax, CR0_PG
        mov     cr0, eax

        mov     ebp, ROUNDS
        xor     ebx, ebx                ; EBX = a sum over what the handler is told
.round: mov     edi, TABLE
        mov     ecx, PAGES
        mov     eax, ENTRY              ; absent
        rep     stosd
        mov     eax, cr3                ; forget what was known of the pages
        mov     cr3, eax
        mov     edi, WINDOW
.touch: mov     [edi], edi
        add     edi, 1000h
        cmp     edi, WINDOW + PAGES * 1000h
        jb      .touch
        dec     ebp
        jnz     .round
        mov     eax, ebx
        add     eax, [PAGE]             ; what was written last
        ret

; Map the page, and return to what faulted.
page_fault:
        push    eax
        mov     eax, cr2
        add     ebx, eax
        add     ebx, [esp + 4]          ; the error code
        shr     eax, 12
        mov     dword [TABLE + 4 * (eax - (WINDOW >> 12))], ENTRY | PRESENT
        pop     eax
        add     esp, 4
        iretd
