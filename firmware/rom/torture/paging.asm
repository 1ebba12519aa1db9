; Paging (SDM 3A chapter 4; 6.15, "#PF").

        CHAPTER "paging"

PAGE_P          equ     1 << 0
PAGE_W          equ     1 << 1
PAGE_U          equ     1 << 2
PAGE_A          equ     1 << 5
PAGE_D          equ     1 << 6
PAGE_PS         equ     1 << 7
PAGE_G          equ     1 << 8
PAGE_ALL        equ     PAGE_P | PAGE_W | PAGE_U

; The pages that tests change; 400000h-7FFFFFh is all theirs.
FIRST           equ     400000h
ENTRY           equ     PAGE_TABLE_2    ; the entry of FIRST
FRAME_1         equ     20000h          ; page frames
FRAME_2         equ     21000h

; Page tables as new: 0-3FFFFF one to one, 400000-400FFF to FRAME_1, the next page to FRAME_2, no
; other; all of them writable by level 3.  Then paging on.  Keeps every register.
%macro PAGING 0-1 0                     ; bits of CR4
        push    dword %1
        call    paging_on
%endmacro

        jmp     paging_tests

paging_on:
        call    page_tables_anew
        push    eax
        mov     eax, [esp + 8]
        mov     cr4, eax
        mov     eax, PAGE_DIRECTORY
        mov     cr3, eax
        mov     eax, cr0
        or      eax, CR0_PG
        mov     cr0, eax
        pop     eax
        ret     4

page_tables_anew:
        pushad
        mov     edi, PAGE_DIRECTORY
        mov     ecx, 1024
        xor     eax, eax
        rep     stosd
        mov     dword [PAGE_DIRECTORY], PAGE_TABLE | PAGE_ALL
        mov     dword [PAGE_DIRECTORY + 4], PAGE_TABLE_2 | PAGE_ALL
        mov     edi, PAGE_TABLE
        mov     eax, PAGE_ALL
        mov     ecx, 400h
.next:  stosd
        add     eax, 1000h
        loop    .next
        mov     edi, PAGE_TABLE_2
        mov     ecx, 1024
        xor     eax, eax
        rep     stosd
        mov     dword [ENTRY], FRAME_1 | PAGE_ALL
        mov     dword [ENTRY + 4], FRAME_2 | PAGE_ALL
        mov     dword [FRAME_1], 11111111h
        mov     dword [FRAME_2], 22222222h
        mov     dword [FRAME_1 + 0FFCh], 0
        popad
        ret

paging_tests:
        TEST    "two pages, read and written"
        PAGING
        mov     eax, [FIRST]
        mov     ebx, [FIRST + 1000h]
        mov     dword [FIRST + 0FFEh], 88776655h
        SHOW    " ", eax
        SHOW    " ", ebx
        SHOW    " ", [FRAME_1 + 0FFCh]
        SHOW    " ", [FRAME_2]
        SHOW    " pte=", [ENTRY]
        SHOW    " ", [ENTRY + 4]
        SHOW    " pde=", [PAGE_DIRECTORY + 4]
        END
        TEST    "A by a read, D by a write"
        PAGING
        SHOW    " ", [ENTRY]
        mov     eax, [FIRST]
        SHOW    " ", [ENTRY]
        mov     [FIRST], eax
        SHOW    " ", [ENTRY]
        END
        TEST    "A and D by a read-modify-write"
        PAGING
        or      dword [FIRST], 0
        SHOW    " ", [ENTRY]
        END
        TEST    "A by execution"
        PAGING
        mov     byte [FRAME_2], 0C3h
        call    FIRST + 1000h
        SHOW    " ", [ENTRY + 4]
        END

%macro FAULTS 5+                        ; title, page's bits, CR0's bits, level, instruction
        TEST    %1
        PAGING
        mov     dword [ENTRY], FRAME_1 | (%2)
        mov     eax, cr0
        or      eax, %3
        mov     cr0, eax
%if %4
        TO_LEVEL_3
%endif
        %5
%if %4
        int     BACK_TO_0
%endif
        CAUGHT
        SHOW    " pte=", [ENTRY]
        END
%endmacro
        FAULTS  "a read of what is not present", 0, 0, 0, mov eax, [FIRST + 123h]
        FAULTS  "a write", 0, 0, 0, mov [FIRST + 123h], eax
        FAULTS  "a read at level 3", 0, 0, 3, mov eax, [FIRST + 123h]
        FAULTS  "a write at level 3", 0, 0, 3, mov [FIRST + 123h], eax
        FAULTS  "execution", 0, 0, 0, jmp FIRST + 5
        FAULTS  "execution at level 3", 0, 0, 3, jmp FIRST + 5
        FAULTS  "execution at level 3 of level 0's page", PAGE_P | PAGE_W, 0, 3, jmp FIRST + 5
        FAULTS  "a read at level 3 of level 0's page", PAGE_P | PAGE_W, 0, 3, mov eax, [FIRST]
        FAULTS  "a write at level 3 of level 0's page", PAGE_P | PAGE_W, 0, 3, mov [FIRST], eax
        FAULTS  "a write at level 3 of a read-only page", PAGE_P | PAGE_U, 0, 3, mov [FIRST], eax
        FAULTS  "a read at level 3 of a read-only page", PAGE_P | PAGE_U, 0, 3, mov eax, [FIRST]
        FAULTS  "a write at level 0 of a read-only page", PAGE_P | PAGE_U, 0, 0, mov [FIRST], eax
        FAULTS  "the same with CR0.WP", PAGE_P | PAGE_U, CR0_WP, 0, mov [FIRST], eax
        FAULTS  "a read-modify-write with CR0.WP", PAGE_P | PAGE_U, CR0_WP, 0, inc dword [FIRST]
        FAULTS  "CMPXCHG that does not store, with CR0.WP", PAGE_P, CR0_WP, 0, cmpxchg [FIRST], ebx
        FAULTS  "PUSH to what is not present leaves ESP", 0, 0, 0, push dword [FIRST]
        FAULTS  "a word across into the missing page", PAGE_ALL, 0, 0, mov eax, [FIRST + 1FFEh]
        FAULTS  "a store across: nothing of it is done", PAGE_ALL, 0, 0, mov [FIRST + 1FFDh], esp
        FAULTS  "INVLPG of what is not present", 0, 0, 0, invlpg [FIRST + 123h]
        FAULTS  "BOUND's limits not present", 0, 0, 0, bound eax, [FIRST]
        FAULTS  "XCHG with what is not present", 0, 0, 0, xchg [FIRST], eax
        FAULTS  "a reserved bit is none without PAE or PSE", PAGE_ALL | PAGE_PS, 0, 0, mov eax, [FIRST]

        TEST    "the directory's bits count as well: U"
        PAGING
        mov     dword [PAGE_DIRECTORY + 4], PAGE_TABLE_2 | PAGE_P | PAGE_W
        TO_LEVEL_3
        mov     eax, [FIRST]
        END
        TEST    "and W"
        PAGING
        mov     dword [PAGE_DIRECTORY + 4], PAGE_TABLE_2 | PAGE_P | PAGE_U
        TO_LEVEL_3
        mov     [FIRST], eax
        END
        TEST    "and P"
        PAGING
        mov     dword [PAGE_DIRECTORY + 4], 0
        mov     eax, [FIRST]
        END
        TEST    "a demand-paged read: the handler maps, the instruction runs again"
        PAGING
        mov     dword [ENTRY], 0
        SET_IDT_GATE 14, CODE_32, .map, INTERRUPT_32
        mov     eax, 5
        add     eax, [FIRST]
        jmp     .mapped
.map:   mov     dword [ENTRY], FRAME_1 | PAGE_ALL
        add     esp, 4
        iretd
.mapped:
        SHOW    " ", eax
        SHOW    " ", [ENTRY]
        END
        TEST    "a new mapping after INVLPG"
        PAGING
        mov     eax, [FIRST]
        mov     dword [ENTRY], FRAME_2 | PAGE_ALL
        invlpg  [FIRST + 0FFFh]
        mov     ebx, [FIRST]
        SHOW    " ", eax
        SHOW    " ", ebx
        END
        TEST    "a new mapping after MOV to CR3"
        PAGING
        mov     eax, [FIRST]
        mov     dword [ENTRY], FRAME_2 | PAGE_ALL
        mov     ecx, cr3
        mov     cr3, ecx
        mov     ebx, [FIRST]
        SHOW    " ", eax
        SHOW    " ", ebx
        END
        TEST    "CR3's reserved bits read as written"
        PAGING
        mov     eax, PAGE_DIRECTORY | 18h
        mov     cr3, eax
        mov     ebx, cr3
        SHOW    " ", ebx
        END
        TEST    "a page taken away after INVLPG"
        PAGING
        mov     eax, [FIRST]
        mov     dword [ENTRY], 0
        invlpg  [FIRST]
        mov     eax, [FIRST]
        END
        TEST    "CR2 is kept where no page fault is"
        PAGING
        mov     eax, 87654321h
        mov     cr2, eax
        mov     dword [returns], 1
        mov     dword [skip], 2
        ud2
        mov     eax, cr2
        SHOW    " ", eax
        END
        TEST    "paging off again"
        PAGING
        mov     eax, cr0
        and     eax, ~CR0_PG
        mov     cr0, eax
        mov     dword [FIRST], 0AAAA5555h
        mov     eax, [FIRST]
        SHOW    " ", eax
        SHOW    " ", [FRAME_1]
        END

; ---- 4 MiB pages ----

        TEST    "PSE: a page of 4 MiB"
        PAGING  CR4_PSE
        mov     dword [PAGE_DIRECTORY + 8], 0 | PAGE_ALL | PAGE_PS
        mov     eax, [800000h + FRAME_2]
        mov     [800000h + FRAME_2 + 4], eax
        SHOW    " ", eax
        SHOW    " ", [FRAME_2 + 4]
        SHOW    " pde=", [PAGE_DIRECTORY + 8]
        END
        TEST    "PSE: a write to a read-only one at level 3"
        PAGING  CR4_PSE
        mov     dword [PAGE_DIRECTORY + 8], PAGE_P | PAGE_U | PAGE_PS
        TO_LEVEL_3
        mov     eax, [800000h + FRAME_2]
        mov     [800000h + FRAME_2 + 4], eax
        CAUGHT
        SHOW    " pde=", [PAGE_DIRECTORY + 8]
        END
        TEST    "PS without CR4.PSE is ignored"
        PAGING
        mov     dword [PAGE_DIRECTORY + 8], PAGE_TABLE | PAGE_ALL | PAGE_PS
        mov     eax, [800000h + FRAME_2]
        SHOW    " ", eax
        END
        TEST    "PSE: a reserved bit"
        PAGING  CR4_PSE
        mov     dword [PAGE_DIRECTORY + 8], PAGE_ALL | PAGE_PS | 1 << 21
        mov     eax, [800000h + FRAME_2]
        END

; ---- PAE ----

%macro PAE_PAGING 0
        call    pae_on
%endmacro
        jmp     pae_tests

; 0-1FFFFF as one page of 2 MiB, 200000-3FFFFF by PAE_TABLE: its first page is FRAME_1.
pae_on:
        mov     edi, PAE_POINTERS
        mov     ecx, 3000h / 4
        xor     eax, eax
        rep     stosd
        mov     dword [PAE_POINTERS], PAE_DIRECTORY | PAGE_P
        mov     dword [PAE_DIRECTORY], PAGE_ALL | PAGE_PS
        mov     dword [PAE_DIRECTORY + 8], PAE_TABLE | PAGE_ALL
        mov     dword [PAE_TABLE], FRAME_1 | PAGE_ALL
        mov     dword [FRAME_1], 11111111h
        mov     eax, CR4_PAE
        mov     cr4, eax
        mov     eax, PAE_POINTERS
        mov     cr3, eax
        mov     eax, cr0
        or      eax, CR0_PG
        mov     cr0, eax
        ret

pae_tests:
        TEST    "PAE: pages of 4 KiB and of 2 MiB"
        PAE_PAGING
        mov     eax, [200000h]
        mov     [200004h], eax
        SHOW    " ", eax
        SHOW    " ", [FRAME_1 + 4]
        SHOW    " pte=", [PAE_TABLE]
        SHOW    " pde=", [PAE_DIRECTORY + 8]
        SHOW    " pde=", [PAE_DIRECTORY]
        SHOW    " pdpte=", [PAE_POINTERS]
        END
        TEST    "PAE: not present"
        PAE_PAGING
        mov     [201000h], eax
        END
        TEST    "PAE: no directory"
        PAE_PAGING
        mov     eax, [40000000h]
        END
        TEST    "PAE: a reserved bit of an entry"
        PAE_PAGING
        mov     dword [PAE_TABLE + 4], 1 << 30
        mov     eax, [200000h]
        END
        TEST    "PAE: bit 63 is reserved without EFER.NXE"
        PAE_PAGING
        mov     dword [PAE_TABLE + 4], 1 << 31
        mov     eax, [200000h]
        END

; ---- delivery under paging ----

        TEST    "the IDT is not present: #PF on the way"
        PAGING
        mov     word [scratch], 8 * VECTORS - 1
        mov     dword [scratch + 2], FIRST + 0F00h      ; vectors 0-1Fh on this page, others beyond
        mov     esi, IDT
        mov     edi, FRAME_1 + 0F00h
        mov     ecx, 100h / 4
        rep     movsd
        lidt    [scratch]
        mov     dword [ENTRY + 4], 0
        int     20h
        CAUGHT
        lidt    [idt_pointer]
        END
        TEST    "the stack of level 0 is not present"
        PAGING
        SET_IDT_GATE 8, GATE_SELECTOR, 0, TASK_GATE     ; never taken: the gate's selector is none
        mov     dword [TSS + TSS_ESP1], FIRST + 2004h
        SET_IDT_GATE 20h, CODE_LEVEL_1, landed, TRAP_32 | DPL_3
        mov     dword [TSS + TSS_ESP0], STACK_0
        TO_LEVEL_3
        int     20h
        END
        TEST    "a GDT that is not present"
        PAGING
        mov     word [scratch], 0FFFFh
        mov     dword [scratch + 2], FIRST + 1000h - 8 * 40h
        mov     esi, GDT
        mov     edi, FRAME_1 + 1000h - 8 * 40h
        mov     ecx, (ldt_image - gdt_image) / 4
        rep     movsd
        mov     dword [ENTRY + 4], 0
        lgdt    [scratch]
        mov     ax, 200h
        mov     ds, ax
        CAUGHT
        lgdt    [gdt_pointer]
        END
        TEST    "reads of tables at level 3 are level 0's"
        PAGING
        mov     dword [ENTRY], FRAME_1 | PAGE_P         ; not for level 3
        mov     esi, GDT
        mov     edi, FRAME_1
        mov     ecx, (ldt_image - gdt_image) / 4
        rep     movsd
        mov     word [scratch], BEYOND_GDT - 1
        mov     dword [scratch + 2], FIRST
        lgdt    [scratch]
        TO_LEVEL_3
        mov     ax, DATA_LEVEL_3
        mov     ds, ax
        int     BACK_TO_0
        CAUGHT
        lgdt    [gdt_pointer]
        END

; ---- code and pages ----

        TEST    "straight code runs into a page that is not present"
        PAGING
        mov     dword [ENTRY + 4], 0
        mov     dword [FRAME_1 + 0FFCh], 40404040h      ; INC EAX, four times
        mov     dword [test_base], FIRST
        jmp     FIRST + 0FFCh
        CAUGHT
        SHOW    " eax=", [saved_eax]
        END
        TEST    "an instruction across into a page that is not present"
        PAGING
        mov     dword [ENTRY + 4], 0
        mov     dword [FRAME_1 + 0FFCh], 0B8404040h     ; INC EAX, three times; MOV EAX, ...
        mov     dword [test_base], FIRST
        jmp     FIRST + 0FFCh
        CAUGHT
        SHOW    " eax=", [saved_eax]
        END
        TEST    "code across two pages"
        PAGING
        mov     dword [FRAME_1 + 0FFCh], 0B8404040h
        mov     dword [FRAME_2], 12345678h
        mov     byte [FRAME_2 + 4], 0C3h
        mov     ecx, FIRST + 0FFCh
        call    ecx
        SHOW    " ", eax
        END
        TEST    "code changed in its own block"
        mov     byte [.own_immediate], 11h
        jmp     short .own
.own:   mov     byte [.own_immediate], 22h
        db      0B0h                    ; MOV AL, 22h
.own_immediate:
        db      11h
        SHOW_BYTE " ", al
        END
        TEST    "code changed in its own page, before and behind"
        mov     ecx, 3
        xor     eax, eax
.loop:  inc     byte [.changing]
        db      80h, 0C0h               ; ADD AL, ...
.changing:
        db      0
        inc     byte [.behind]
        loop    .loop
        db      80h, 0C4h               ; ADD AH, ...
.behind:
        db      0
        mov     byte [.changing], 0
        mov     byte [.behind], 0
        SHOW_WORD " ", ax
        END
        TEST    "code changed through another mapping"
        PAGING
        mov     dword [ENTRY + 4], FRAME_1 | PAGE_ALL
        mov     dword [FRAME_1], 0C311B0h       ; MOV AL, 11h; RET
        call    FIRST
        mov     bl, al
        mov     byte [FIRST + 1001h], 22h
        call    FIRST
        mov     cl, al
        mov     byte [FRAME_1 + 1], 33h
        call    FIRST + 1000h
        SHOW_BYTE " ", bl
        SHOW_BYTE " ", cl
        SHOW_BYTE " ", al
        END
        TEST    "code changed through another mapping, in its own block"
        PAGING
        mov     edi, FRAME_1
        mov     esi, .alias
        mov     ecx, .alias_end - .alias
        rep     movsb
        call    FIRST
        SHOW_BYTE " ", al
        jmp     .alias_end
.alias: mov     byte [FRAME_1 + .alias_immediate - .alias], 22h
        db      0B0h
.alias_immediate:
        db      11h
        ret
.alias_end:
        END
        TEST    "REP STOSB over the code that runs"
        PAGING
        mov     edi, FRAME_1
        mov     esi, .stos
        mov     ecx, .stos_end - .stos
        rep     movsb
        mov     edi, FIRST + .stos_over - .stos
        mov     ecx, 4
        mov     al, 43h                 ; INC EBX
        xor     ebx, ebx
        call    FIRST
        SHOW    " ebx=", ebx
        jmp     .stos_end
.stos:  rep     stosb
.stos_over:
        times 4 nop
        ret
.stos_end:
        END
        TEST    "one page remapped under the same code address"
        PAGING
        mov     dword [FRAME_1], 0C311B0h
        mov     dword [FRAME_2], 0C322B0h
        call    FIRST
        mov     bl, al
        mov     dword [ENTRY], FRAME_2 | PAGE_ALL
        invlpg  [FIRST]
        call    FIRST
        SHOW_BYTE " ", bl
        SHOW_BYTE " ", al
        END
        TEST    "a global page outlives MOV to CR3"
        PAGING  CR4_PGE
        mov     dword [ENTRY], FRAME_1 | PAGE_ALL | PAGE_G
        mov     eax, [FIRST]
        mov     ecx, cr4
        and     ecx, ~CR4_PGE
        mov     cr4, ecx                ; this drops it too
        mov     dword [ENTRY], FRAME_2 | PAGE_ALL
        mov     ebx, [FIRST]
        SHOW    " ", eax
        SHOW    " ", ebx
        END

; ---- string instructions that fault in the middle ----

%macro STRING_FAULTS 5-6                ; title, ESI, EDI, ECX, instruction, another
        TEST    %1
        PAGING
        mov     dword [ENTRY + 4], 0
        mov     edi, FRAME_1
        mov     ecx, 1024
        mov     eax, 0A5A5A5A5h
        rep     stosd
        mov     esi, %2
        mov     edi, %3
        mov     ecx, %4
        mov     edx, DEBUG_CONSOLE
        %5
%if %0 == 6
        %6
%endif
        CAUGHT
        SHOW    " esi=", [saved_esi]
        SHOW    " edi=", [saved_edi]
        SHOW    " ecx=", [saved_ecx]
        SHOW    " eax=", [saved_eax]
        END
%endmacro
        STRING_FAULTS "REP MOVSB, the source ends", FIRST + 0FFCh, FRAME_2, 10h, rep movsb
        STRING_FAULTS "REP MOVSD, the destination ends", FRAME_2, FIRST + 0FF6h, 10h, rep movsd
        STRING_FAULTS "REP MOVSW, downwards", FIRST + 1004h, FRAME_2 + 8, 8, std, rep movsw
        STRING_FAULTS "REP STOSD", 0, FIRST + 0FF0h, 10h, rep stosd
        STRING_FAULTS "REP LODSW", FIRST + 0FFAh, 0, 10h, rep lodsw
        STRING_FAULTS "REPE CMPSB", FIRST + 0FF8h, FRAME_1 + 8, 10h, repe cmpsb
        STRING_FAULTS "REPE SCASD", 0, FIRST + 0FF4h, 10h, repe scasd
        STRING_FAULTS "REPNE SCASB", 0, FIRST + 0FFDh, 10h, {mov al, 0}, repne scasb
        STRING_FAULTS "REP INSB", 0, FIRST + 0FFCh, 8, rep insb
        STRING_FAULTS "MOVSD across", FIRST + 0FFEh, FRAME_2, 1, movsd

; ESP is at level 3's stack, so that the fault has one of its own.
%macro STACK_FAULTS 3+                  ; title, ESP, instruction
        TEST    %1
        PAGING
        mov     dword [ENTRY + 4], 0
        mov     dword [FRAME_1 + 0FF0h], 0
        mov     dword [FRAME_1 + 0FF4h], 0
        TO_LEVEL_3
        mov     ebp, 0EBEBEBEBh
        mov     ebx, 0EEEEEEEEh
        mov     esp, %2
        %3
        int     BACK_TO_0
        CAUGHT
        SHOW    " ", [saved_eax]
        SHOW    " ", [saved_ebx]
        SHOW    " ", [saved_ebp]
        SHOW    " ", [saved_edi]
        SHOW    " ", [FRAME_1 + 0FFCh]
        END
%endmacro
        STACK_FAULTS "PUSHAD across", FIRST + 1008h, pushad
        STACK_FAULTS "POPAD across", FIRST + 0FF0h, popad
        STACK_FAULTS "ENTER into a missing page", FIRST + 1008h, enter 1000h, 0
        STACK_FAULTS "CALL into a missing page", FIRST + 1008h, call FIRST
        STACK_FAULTS "a far CALL", FIRST + 1002h, call (CODE_LEVEL_3 | 3):FIRST
        STACK_FAULTS "POP to memory that is not present", FIRST + 0FF0h, pop dword [FIRST + 1000h]
        STACK_FAULTS "RET across", FIRST + 0FFEh, ret
