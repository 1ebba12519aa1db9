; hello: a boot sector that says two lines on COM1 and stops.
;
; It asks nothing of the ROM but that COM1 be set up.  Each character waits for the one before
; it, 87 us at 115,200 baud: time enough to save the machine in the middle of a word.

        cpu     386
        bits    16
        org     7C00h
%include "pc.inc"

start:  xor     ax, ax
        mov     ds, ax                  ; the message is at 0000:7Cxx
        cld
        mov     si, message

next:   lodsb
        test    al, al
        jz      sent
        mov     ah, al
        mov     dx, COM1 + LSR
.busy:  in      al, dx
        test    al, LSR_THRE
        jz      .busy
        mov     al, ah
        mov     dx, COM1 + THR
        out     dx, al
        jmp     next

sent:   mov     dx, COM1 + LSR
.busy:  in      al, dx
        test    al, LSR_TEMT            ; the last character is still on the wire
        jz      .busy
        cli
.halt:  hlt                             ; for good: no interrupt ends this
        jmp     .halt                   ; but an NMI would

message:
        db      "Hello from a guest of emu.", CR, LF
        db      "Save me in the middle of this sentence, and I shall end it "
        db      "without noticing that I was away.", CR, LF, 0

        times   510 - ($ - $$) db 0
        dw      0AA55h                  ; the mark of a boot sector
