; A wait of so many ticks of the timer, 1 ms each, asleep in HLT.

%include "rom.inc"
%include "pit.inc"

benchmark:
        call    start_ticks
.wait:  hlt                             ; no tick can be missed: one that comes before HLT ends ...
        cmp     dword [ticks], ROUNDS   ; ... no wait, but the next one does, 1 ms later
        jb      .wait
        mov     eax, ROUNDS
        ret
