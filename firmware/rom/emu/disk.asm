; ==== INT 13h: drives ====
;
; A drive is a file of fw_cfg.  Past the file's end it reads as zeros, as far as its geometry goes.
; A write changes fw_cfg's copy of the file; where fw_cfg takes none, as QEMU's does not, the drive
; is write-protected.
;
; DL = 00h is the floppy, 80h the disk.  AH = status, 0 if CF = 0, and what else is said here:
;
;       00h             reset
;       01h             AH = status of the last operation
;       02h 03h 04h     read, write, verify AL sectors at CH = cylinder bits 7-0, CL = sector and
;                       bits 7-6 cylinder bits 9-8, DH = head; memory at ES:BX.  AL = sectors done
;       08h             AL = 0, CH CL DH = the last cylinder, sector and head, DL = drives of this
;                       kind; a floppy: BL = type, ES:DI = its table
;       0Ch 0Dh 10h 11h 14h 47h         seek, reset, ready?, recalibrate, diagnostics, seek
;       15h             AH = 0: no such drive, 2: a floppy that can be changed, 3: a disk of CX:DX
;                       sectors
;       16h             has the floppy been changed?  It has not
;       41h             BX = 55AAh: BX = AA55h, AH = 01h, CX = 1: 42h-44h, 47h and 48h are there
;       42h 43h 44h     read, write, verify by the packet at DS:SI
;       48h             26 bytes at DS:SI = geometry, sectors, bytes a sector
;
; A transfer may cross tracks, cylinders and 64 KiB, which an AT's may not, and takes no time.
;
; Not done: formatting (05h-07h), long sectors (0Ah, 0Bh), the AT's alternate ways to set a floppy's
; type (17h, 18h).

SECTOR_SHIFT    equ     9               ; 512 bytes
DISK_HEADS      equ     16              ; the most an AT's controller can address
DISK_SECTORS    equ     63
CYLINDERS_MOST  equ     1024

DRIVE_ITEM      equ     0               ; word: its item in fw_cfg; 0 if there is no such drive
DRIVE_CYLINDERS equ     2               ; word
DRIVE_HEADS     equ     4               ; byte
DRIVE_TRACK     equ     5               ; byte: sectors a track
DRIVE_TYPE      equ     6               ; byte: a floppy's, as in CMOS RAM 10h
DRIVE_TOTAL     equ     8               ; dword: sectors

STATUS_BAD      equ     01h             ; function or parameter
STATUS_PROTECTED equ    03h             ; against writing
STATUS_NOT_FOUND equ    04h             ; the sector

; Look for the drives' files, at power-on.
find_drives:
        push    ds
        push    word EBDA_SEGMENT
        pop     ds
        mov     si, name_floppy
        call    find_file
        jc      .no_floppy
        mov     [EBDA_FLOPPY + DRIVE_ITEM], ax
        shr     ecx, SECTOR_SHIFT
        mov     si, floppies - FLOPPY_BYTES
.format:                                ; the first that is large enough, or the largest
        add     si, FLOPPY_BYTES
        cmp     si, floppies.last
        je      .known
        cmp     cx, [cs:si]
        ja      .format
.known: mov     di, EBDA_FLOPPY
        movzx   eax, word [cs:si]
        mov     [di + DRIVE_TOTAL], eax
        mov     eax, [cs:si + 2]        ; cylinders, heads, sectors a track
        mov     [di + DRIVE_CYLINDERS], ax
        shr     eax, 16
        mov     [di + DRIVE_HEADS], ax
        mov     al, [cs:si + 6]
        mov     [di + DRIVE_TYPE], al
        or      byte [es:BDA_EQUIPMENT], EQUIPMENT_FLOPPY
.no_floppy:
        mov     si, name_disk
        call    find_file
        jc      .no_disk
        mov     di, EBDA_DISK
        mov     [di + DRIVE_ITEM], ax
        mov     word [di + DRIVE_HEADS], DISK_SECTORS << 8 | DISK_HEADS
        lea     eax, [ecx + DISK_HEADS * DISK_SECTORS * 512 - 1]
        xor     edx, edx
        mov     ecx, DISK_HEADS * DISK_SECTORS * 512
        div     ecx                     ; whole cylinders
        cmp     eax, CYLINDERS_MOST
        jbe     .fits
        mov     eax, CYLINDERS_MOST
.fits:  mov     [di + DRIVE_CYLINDERS], ax
        imul    eax, eax, DISK_HEADS * DISK_SECTORS
        mov     [di + DRIVE_TOTAL], eax
        inc     byte [es:BDA_DISKS]
.no_disk:

; The tables that INT 1Eh and 41h point to, for who programs a controller by them.

        push    es
        push    ds
        pop     es
        mov     si, floppy_table
        mov     di, EBDA_FLOPPY_TABLE
        mov     cx, floppy_table.end - floppy_table
        cs rep movsb
        pop     es
        mov     al, [EBDA_FLOPPY + DRIVE_TRACK]
        test    al, al
        jz      .no_track
        mov     [EBDA_FLOPPY_TABLE + FLOPPY_TABLE_TRACK], al
.no_track:
        mov     ax, [EBDA_DISK + DRIVE_CYLINDERS]
        mov     [EBDA_DISK_TABLE], ax
        mov     al, DISK_HEADS
        mov     [EBDA_DISK_TABLE + 2], al
        mov     word [EBDA_DISK_TABLE + 5], 0FFFFh      ; no write precompensation
        mov     byte [EBDA_DISK_TABLE + 8], 1 << 3      ; more than 8 heads
        mov     [EBDA_DISK_TABLE + 12], ax              ; landing zone
        mov     byte [EBDA_DISK_TABLE + 14], DISK_SECTORS
        mov     dword [es:4 * 1Eh], EBDA_SEGMENT << 16 | EBDA_FLOPPY_TABLE
        mov     dword [es:4 * 41h], EBDA_SEGMENT << 16 | EBDA_DISK_TABLE
        pop     ds
        ret

; DS is the extended BIOS data area, ES stays 0, DI = the drive.
int_disk:
        SERVICE
        push    word EBDA_SEGMENT
        pop     ds
        mov     di, EBDA_FLOPPY
        cmp     dl, 00h
        je      .drive
        mov     di, EBDA_DISK
        cmp     dl, 80h
        jne     .absent
.drive: cmp     word [di + DRIVE_ITEM], 0
        je      .absent
        mov     si, disk_functions
.look:  cmp     ah, [cs:si]
        je      .found
        add     si, 3
        cmp     si, disk_functions.end
        jne     .look
        jmp     disk_bad
.found: jmp     [cs:si + 1]

.absent:
        cmp     ah, 15h
        jne     disk_bad
        mov     byte [CALLER_AH], 0     ; "no such drive" is an answer
        jmp     return_carry_clear

%macro FUNCTION 2
        db      %1
        dw      %2
%endmacro

disk_functions:
        FUNCTION 00h, disk_done
        FUNCTION 01h, disk_last_status
        FUNCTION 02h, disk_read
        FUNCTION 03h, disk_write
        FUNCTION 04h, disk_verify
        FUNCTION 08h, disk_parameters
        FUNCTION 0Ch, disk_done
        FUNCTION 0Dh, disk_done
        FUNCTION 10h, disk_done
        FUNCTION 11h, disk_done
        FUNCTION 14h, disk_done
        FUNCTION 15h, disk_kind
        FUNCTION 16h, disk_done
        FUNCTION 41h, disk_extensions
        FUNCTION 42h, disk_packet
        FUNCTION 43h, disk_packet
        FUNCTION 44h, disk_packet
        FUNCTION 47h, disk_done
        FUNCTION 48h, disk_extended_parameters
.end:

disk_bad:
        mov     al, STATUS_BAD
        jmp     disk_end
disk_done:
        mov     al, 0

; End with status AL.
disk_end:
        mov     [CALLER_AH], al
        call    disk_status
        mov     [es:bx], al
        test    al, al
        jnz     return_carry_set
        jmp     return_carry_clear

disk_last_status:
        call    disk_status
        mov     al, [es:bx]
        jmp     disk_end

; BX = where the BIOS data area has the status of the drives of this kind.
disk_status:
        mov     bx, BDA_FLOPPY_STATUS
        test    byte [CALLER_DL], 80h
        jz      .end
        mov     bx, BDA_DISK_STATUS
.end:   ret

; ---- by cylinder, head and sector ----

disk_read:
        mov     si, DMA_READ
        jmp     disk_by_place
disk_write:
        mov     si, DMA_WRITE
        jmp     disk_by_place
disk_verify:
        xor     si, si
disk_by_place:
        movzx   ebx, word [CALLER_ES]
        shl     ebx, 4
        movzx   eax, word [CALLER_BX]
        add     ebx, eax
        movzx   ecx, byte [CALLER_AL]
        mov     al, STATUS_BAD
        jecxz   .end                    ; no sectors
        call    disk_place
        jc      .not_found
        call    disk_transfer
        jmp     .end
.not_found:
        mov     al, STATUS_NOT_FOUND
.end:   test    al, al
        jz      disk_end
        mov     byte [CALLER_AL], 0
        jmp     disk_end

; CF = 0 and EAX = the number, from 0, of the sector that the caller's CX and DH name; CF = 1 if
; the drive has none such.  Changes EDX.
disk_place:
        push    ecx
        mov     cx, [CALLER_CX]
        mov     al, ch
        mov     ah, cl
        shr     ah, 6
        cmp     ax, [di + DRIVE_CYLINDERS]
        jae     .none
        mov     dl, [CALLER_DH]
        cmp     dl, [di + DRIVE_HEADS]
        jae     .none
        and     cl, 3Fh
        dec     cl                      ; sectors are counted from 1
        cmp     cl, [di + DRIVE_TRACK]
        jae     .none
        movzx   edx, byte [di + DRIVE_HEADS]
        imul    ax, dx                  ; all of these products fit in 16 bits:
        movzx   edx, byte [CALLER_DH]   ; CYLINDERS_MOST * DISK_HEADS
        add     ax, dx
        movzx   eax, ax                 ; tracks before this one
        movzx   edx, byte [di + DRIVE_TRACK]
        imul    eax, edx
        movzx   ecx, cl
        add     eax, ecx
        pop     ecx
        clc
        ret
.none:  pop     ecx
        stc
        ret

; Transfer ECX sectors from number EAX on, to or from address EBX, as SI says: DMA_READ, DMA_WRITE
; or 0 for nothing at all.  AL = status.  Changes EBX, ECX, EDX.
disk_transfer:
        mov     edx, eax
        add     edx, ecx
        jc      .not_found
        cmp     edx, [di + DRIVE_TOTAL]
        ja      .not_found
        test    si, si
        jz      .done
        push    ecx
        shl     eax, SECTOR_SHIFT
        mov     ecx, eax
        movzx   eax, word [di + DRIVE_ITEM]
        shl     eax, 16
        mov     ax, DMA_SELECT | DMA_SKIP
        call    fw_cfg_dma
        pop     ecx
        shl     ecx, SECTOR_SHIFT
        movzx   eax, si
        call    fw_cfg_dma
        mov     al, STATUS_PROTECTED
        jc      .end
.done:  mov     al, 0
.end:   ret
.not_found:
        mov     al, STATUS_NOT_FOUND
        ret

disk_parameters:
        mov     ax, [di + DRIVE_CYLINDERS]
        dec     ax
        mov     [CALLER_CH], al
        shl     ah, 6
        or      ah, [di + DRIVE_TRACK]
        mov     [CALLER_CL], ah
        mov     al, [di + DRIVE_HEADS]
        dec     al
        mov     [CALLER_DH], al
        mov     byte [CALLER_DL], 1
        mov     byte [CALLER_AL], 0
        cmp     di, EBDA_FLOPPY
        jne     .end
        mov     al, [di + DRIVE_TYPE]
        mov     ah, 0
        mov     [CALLER_BX], ax
        mov     eax, [es:4 * 1Eh]
        mov     [CALLER_DI], ax
        shr     eax, 16
        mov     [CALLER_ES], ax
        mov     byte [es:BDA_FLOPPY_STATUS], 0
        mov     byte [CALLER_AH], 0
        jmp     return_carry_clear      ; CALLER_DL says no longer which drive
.end:   mov     byte [es:BDA_DISK_STATUS], 0
        mov     byte [CALLER_AH], 0
        jmp     return_carry_clear

disk_kind:
        mov     byte [CALLER_AH], 2
        cmp     di, EBDA_FLOPPY
        je      return_carry_clear
        mov     byte [CALLER_AH], 3
        mov     eax, [di + DRIVE_TOTAL]
        mov     [CALLER_DX], ax
        shr     eax, 16
        mov     [CALLER_CX], ax
        jmp     return_carry_clear

; ---- by number: Enhanced Disk Drive Specification, "fixed disk access subset" ----

PACKET_SIZE     equ     0               ; byte: 10h, or 18h with the field at 10h
PACKET_COUNT    equ     2               ; word: sectors; as an answer, how many were transferred
PACKET_BUFFER   equ     4               ; dword: segment and offset; all ones: see PACKET_ADDRESS
PACKET_SECTOR   equ     8               ; qword: the first sector's number
PACKET_ADDRESS  equ     10h             ; qword: the buffer's address

disk_extensions:
        cmp     bx, 55AAh
        jne     disk_bad
        mov     word [CALLER_BX], 0AA55h
        mov     byte [CALLER_AH], 01h   ; version 1
        mov     word [CALLER_CX], 1
        jmp     return_carry_clear

disk_packet:
        push    es
        mov     es, [CALLER_DS]
        mov     bx, [CALLER_SI]
        mov     al, STATUS_BAD
        cmp     byte [es:bx + PACKET_SIZE], 10h
        jb      .end
        xor     si, si
        cmp     ah, 44h
        je      .known
        mov     si, DMA_READ
        cmp     ah, 42h
        je      .known
        mov     si, DMA_WRITE
.known: mov     al, STATUS_NOT_FOUND
        cmp     dword [es:bx + PACKET_SECTOR + 4], 0
        jne     .failed
        mov     eax, [es:bx + PACKET_SECTOR]
        movzx   ecx, word [es:bx + PACKET_COUNT]
        push    bx
        cmp     dword [es:bx + PACKET_BUFFER], 0FFFFFFFFh
        je      .address
        movzx   edx, word [es:bx + PACKET_BUFFER]
        movzx   ebx, word [es:bx + PACKET_BUFFER + 2]
        shl     ebx, 4
        add     ebx, edx
        jmp     .transfer
.address:
        mov     ebx, [es:bx + PACKET_ADDRESS]
.transfer:
        call    disk_transfer
        pop     bx
        test    al, al
        jz      .end
.failed:
        mov     word [es:bx + PACKET_COUNT], 0
.end:   pop     es
        jmp     disk_end

disk_extended_parameters:
        push    es
        mov     es, [CALLER_DS]
        mov     bx, [CALLER_SI]
        mov     al, STATUS_BAD
        cmp     word [es:bx], 26
        jb      .end
        mov     word [es:bx], 26
        mov     word [es:bx + 2], 1 << 1        ; the geometry is valid
        movzx   eax, word [di + DRIVE_CYLINDERS]
        mov     [es:bx + 4], eax
        movzx   eax, byte [di + DRIVE_HEADS]
        mov     [es:bx + 8], eax
        movzx   eax, byte [di + DRIVE_TRACK]
        mov     [es:bx + 12], eax
        mov     eax, [di + DRIVE_TOTAL]
        mov     [es:bx + 16], eax
        mov     dword [es:bx + 20], 0
        mov     word [es:bx + 24], 1 << SECTOR_SHIFT
        mov     al, 0
.end:   pop     es
        jmp     disk_end

; ---- what floppies there are ----

; Sectors, cylinders, heads, sectors a track, type.
%macro FLOPPY 4
        dw      %1 * %2 * %3, %1
        db      %2, %3, %4
%endmacro
FLOPPY_BYTES    equ     7

floppies:
        FLOPPY  40, 1, 8, 1
        FLOPPY  40, 1, 9, 1
        FLOPPY  40, 2, 8, 1
        FLOPPY  40, 2, 9, 1             ; 360 KiB
        FLOPPY  80, 2, 9, 3             ; 720 KiB
        FLOPPY  80, 2, 15, 2            ; 1.2 MB
        FLOPPY  80, 2, 18, 4            ; 1.44 MB
.last:  FLOPPY  80, 2, 36, 5            ; 2.88 MB

; How a controller is to be programmed for 1.44 MB: step rate and head unload, head load and DMA,
; motor off after so many ticks, sector size code, sectors a track, gap, data length, gap for
; formatting, fill byte, head settling in ms, motor start in 1/8 s.
floppy_table:   db      0AFh, 02h, 25h, 02h, 18, 1Bh, 0FFh, 6Ch, 0F6h, 0Fh, 08h
.end:
FLOPPY_TABLE_TRACK equ  4

name_floppy:    db      "opt/emu/floppy", 0
name_disk:      db      "opt/emu/disk", 0
