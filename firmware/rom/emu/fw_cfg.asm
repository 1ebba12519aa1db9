; ==== fw_cfg: where drives and guests come from ====
;
; QEMU's firmware configuration device has numbered items of bytes.  Some are files: one of the
; items is a directory of their names.  It is asked to read, skip or write by a structure in
; memory, all big-endian, whose address is written to a port; when that write is over, so is the
; work, and the structure's first four bytes are 0, or 1 for an error.
;
; DS is the extended BIOS data area here.  Each of these changes EAX, EBX, ECX, EDX and nothing
; else, but for what it answers.

FW_CFG_FILE_DIR equ     0019h

DMA_ERROR       equ     1 << 0          ; control, in its lowest byte
DMA_READ        equ     1 << 1
DMA_SKIP        equ     1 << 2
DMA_SELECT      equ     1 << 3          ; from its first byte on, the item in bits 31-16
DMA_WRITE       equ     1 << 4

DMA_CONTROL     equ     EBDA_DMA        ; the structure
DMA_LENGTH      equ     EBDA_DMA + 4
DMA_ADDRESS     equ     EBDA_DMA + 8    ; 64 bits

ENTRY_SIZE      equ     EBDA_ENTRY      ; a directory entry: size in bytes (4),
ENTRY_ITEM      equ     EBDA_ENTRY + 4  ; the item's number (2), 0 (2),
ENTRY_NAME      equ     EBDA_ENTRY + 8  ; and the name, ending with 0
ENTRY_BYTES     equ     64

; Turn round the order of the bytes of EAX (a 386 has no BSWAP).
%macro SWAP_EAX 0
        xchg    al, ah
        rol     eax, 16
        xchg    al, ah
%endmacro

; Look for the file whose name is at CS:SI: CF = 0, ECX = its size and AX = its item, or CF = 1:
; there is none, or it is empty.  Changes SI and DI too.
find_file:
        mov     dx, FW_CFG_DMA_HIGH
        in      eax, dx
        cmp     eax, FW_CFG_SIGNATURE   ; else there is no such device, or it cannot do this
        jne     .none
        mov     eax, FW_CFG_FILE_DIR << 16 | DMA_SELECT | DMA_READ
        mov     ecx, 4
        mov     ebx, EBDA_SEGMENT * 16 + EBDA_ENTRY
        call    fw_cfg_dma
        mov     eax, [EBDA_ENTRY]
        SWAP_EAX
        mov     edi, eax                ; EDI = entries left
.next:  sub     edi, 1
        jc      .none
        mov     eax, DMA_READ
        mov     ecx, ENTRY_BYTES
        mov     ebx, EBDA_SEGMENT * 16 + EBDA_ENTRY
        call    fw_cfg_dma
        push    si
        mov     bx, ENTRY_NAME
.compare:
        cs lodsb
        cmp     al, [bx]
        jne     .compared
        inc     bx
        test    al, al
        jnz     .compare
.compared:
        pop     si
        jne     .next
        mov     eax, [ENTRY_SIZE]
        SWAP_EAX
        mov     ecx, eax
        mov     ax, [ENTRY_ITEM]
        xchg    al, ah
        cmp     ecx, 1                  ; CF = 1 where it is 0
        ret
.none:  stc
        ret

; Read ECX bytes of item AX, from its first on, to address EBX.
fw_cfg_read:
        shl     eax, 16
        mov     ax, DMA_SELECT | DMA_READ

; Do what EAX, the structure's control, says, with ECX bytes at address EBX.  CF = 1: an error.
fw_cfg_dma:
        SWAP_EAX
        mov     [DMA_CONTROL], eax
        mov     eax, ecx
        SWAP_EAX
        mov     [DMA_LENGTH], eax
        mov     dword [DMA_ADDRESS], 0
        mov     eax, ebx
        SWAP_EAX
        mov     [DMA_ADDRESS + 4], eax
        mov     eax, EBDA_SEGMENT * 16 + EBDA_DMA
        SWAP_EAX
        mov     dx, FW_CFG_DMA_LOW      ; the address's high half is 0
        out     dx, eax
        cmp     dword [DMA_CONTROL], 1  ; CF = 1 where it is 0
        cmc
        ret
