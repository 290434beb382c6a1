# Runs a user's NS file in a safe interpreter and writes a record of whatever it asks for to standard output.
#
# Standard input, after this text: a line of settings (commands, milliseconds, milliseconds for a thousand records,
# milliseconds at most, depth, records, bytes), a line for each word of the vocabulary up to an empty one, then the user's
# file, its continued lines joined.
#
# A record is a line of fields with tabs between them; in a field, backslash, tab, newline and carriage return are
# written \\ \t \n \r. The first field is its kind, the next two are line and column, both from 1, 0 if unknown.
#
# Every command that the file meets here is an alias into this interpreter, so it can be renamed or replaced there
# without a way around the record. What this interpreter calls in the other one it calls under hidden names, which the
# file can neither see nor change.

namespace eval yard {
    variable records 0
    variable bytes 0
    variable counter 0
    variable objects 0
    variable pending ""
    variable places
    variable bases
    variable first 1
    variable began 0
    variable class
    variable answers
    variable classes
    variable shadowed
    variable values
    variable named
    variable titled
    array set named {}
    array set titled {}
    array set places {}
    array set bases {}
    array set class {}
    array set answers {}
    array set classes {}
    array set shadowed {}
    array set values {}
}

proc yard::record {kind place args} {
    variable records
    variable bytes
    variable most
    variable mostbytes
    incr records
    foreach field $args {
        incr bytes [string length $field]
    }
    if {$records > $most || $bytes > $mostbytes} {
        puts "end\t[lindex $place 0]\t[lindex $place 1]\toutput\t[repeats]"
        flush stdout
        exit
    }
    set fields [list $kind [lindex $place 0] [lindex $place 1]]
    foreach field $args {
        lappend fields [string map [list \\ \\\\ \t \\t \n \\n \r \\r] $field]
    }
    puts [join $fields \t]
}

# Where the file's running command is. Frames of literal text count lines of the file, those of a proc lines of its
# body; text that was built at run time counts for itself, so a frame is believed only if its command stands there.
proc yard::where {} {
    variable box
    variable places
    # Nearly always it is the innermost: how many there are need not be asked then.
    for {set level 0} {$level > -20} {incr level -1} {
        if {[catch {interp invokehidden $box frame $level} frame]} break
        if {![dict exists $frame cmd]} continue
        set key [list [dict get $frame type] [dict get $frame line] [dict get $frame cmd]]
        if {[dict exists $frame proc]} {
            lappend key [dict get $frame proc]
        }
        if {![info exists places($key)]} {
            set places($key) [place {*}$key]
        }
        if {$places($key) ne ""} {
            return $places($key)
        }
    }
    return {0 0}
}

proc yard::place {type line command {procedure ""}} {
    variable lines
    variable bases
    variable first
    if {$type eq "proc"} {
        if {![info exists bases($procedure)]} {
            return ""
        }
        set line [expr {$line + $bases($procedure) - 1}]
    } elseif {$type eq "eval"} {
        set line [expr {$line + $first - 1}]
    } else {
        return ""
    }
    set text [lindex $lines $line-1]
    set command [string trimleft $command]
    set at [string first [lindex [split [string range $command 0 200] \n] 0] $text]
    if {$at < 0} {
        return ""
    }
    return [list $line [expr {$at + 1}]]
}

# What the file sees as set: the real one, which also names the object that was made just before.
proc yard::set_ {args} {
    variable box
    variable pending
    variable named
    variable titled
    variable class
    if {$pending eq ""} {
        tailcall interp invokehidden $box set {*}$args
    }
    set object $pending
    set pending ""
    if {[llength $args] != 2 || [lindex $args 1] ne $object} {
        tailcall interp invokehidden $box set {*}$args
    }
    lassign $args variable value
    set plain [string trimleft $variable :]
    interp invokehidden $box set $variable $value
    if {[interp invokehidden $box level] > 0} {
        # Within a proc only a variable that the whole file sees gives its name. The value is new, so the global one
        # has it only if it is the same variable.
        if {[catch {interp invokehidden $box -global set ::$plain} seen] || $seen ne $object} {
            return $value
        }
    }
    set name [string map {( - ) {}} $plain]
    # An internal name is its object's until that is named.
    if {[info exists named($name)]
            || ([info exists class($name)] && $name ne $object && ![info exists titled($name)])} {
        record taken [where] $object $name
        return $value
    }
    set named($name) 1
    set titled($object) 1
    record name [where] $object $name
    make_command $name $object
    tailcall interp invokehidden $box set $variable $name
}

# An object can be called by its name. A command of that name that was there before still is: words that the object
# has no method for go to it.
proc yard::make_command {name object} {
    variable box
    variable shadowed
    variable class
    if {$name eq ""} return
    if {![info exists shadowed($name)] && ![info exists class($name)] && ![string match *::* $name]
            && [llength [interp invokehidden $box -global commands ::$name]]} {
        set shadowed($name) 0
        if {[catch {interp hide $box $name old-$name}] == 0} {
            set shadowed($name) 1
        }
    }
    catch {interp alias $box $name {} yard::call_by_name $name $object}
}

proc yard::call_by_name {name object args} {
    variable box
    variable shadowed
    variable class
    variable answers
    if {[info exists shadowed($name)] && $shadowed($name)
            && ![info exists answers($class($object),[lindex $args 0])]} {
        tailcall interp invokehidden $box old-$name {*}$args
    }
    tailcall yard::call $object {*}$args
}

proc yard::make {kind} {
    variable counter
    variable objects
    variable pending
    variable box
    variable class
    variable named
    switch -- $kind {
        Node { set stem tbnode-n }
        Link { set stem tblink-l }
        Lan { set stem tblan-lan }
        default { set stem "" }
    }
    if {$stem eq ""} {
        set object _o$objects
    } else {
        set object $stem[incr counter]
        while {[info exists named($object)]} {
            set object $stem[incr counter]
        }
    }
    set class($object) $kind
    incr objects
    interp alias $box $object {} yard::call $object
    set pending $object
    return $object
}

proc yard::call {object args} {
    variable box
    variable class
    variable answers
    variable values
    set place [where]
    set kind $class($object)
    if {[llength $args] == 0} {
        return $object
    }
    set arguments [lassign $args method]
    if {$method eq "set" && [llength $arguments] in {1 2}} {
        set key $object,[lindex $arguments 0]
        if {[llength $arguments] == 2} {
            record call $place $object $kind set "" {*}$arguments
            return [set values($key) [lindex $arguments 1]]
        }
        return [expr {[info exists values($key)] ? $values($key) : ""}]
    }
    if {![info exists answers($kind,$method)]} {
        set answer Null
    } else {
        set answer $answers($kind,$method)
    }
    set made ""
    if {$answer ne ""} {
        set made [make $answer]
    }
    record call $place $object $kind $method $made {*}$arguments
    if {$kind eq "Simulator" && $method eq "define-template-parameter" && [llength $arguments] >= 2} {
        interp invokehidden $box -global set [lindex $arguments 0] [lindex $arguments 1]
    }
    return $made
}

proc yard::new {{kind ""} args} {
    variable classes
    set place [where]
    set made [make [expr {[info exists classes($kind)] ? $kind : "Null"}]]
    record new $place $made $kind {*}$args
    return $made
}

proc yard::command {name args} {
    record command [where] $name {*}$args
}

# Remembers on which line a body begins.
proc yard::proc_ {args} {
    variable box
    variable bases
    if {[llength $args] == 3} {
        set frame [interp invokehidden $box frame 0]
        set base 0
        if {[dict exists $frame cmd]} {
            set key [list [dict get $frame type] [dict get $frame line] [dict get $frame cmd]]
            if {[dict exists $frame proc]} {
                lappend key [dict get $frame proc]
            }
            set base [lindex [place {*}$key] 0]
            if {$base eq ""} {
                set base 0
            }
            set body [string last [lindex $args 2] [dict get $frame cmd]]
            if {$base > 0 && $body > 0} {
                incr base [expr {[llength [split [string range [dict get $frame cmd] 0 $body-1] \n]] - 1}]
            }
        }
        set name ::[string trimleft [lindex $args 0] :]
        if {$base > 0} {
            set bases($name) $base
        } else {
            unset -nocomplain bases($name)
        }
    }
    tailcall interp invokehidden $box proc {*}$args
}

proc yard::puts_ {args} {
    record output [where] [lindex $args end]
    return
}

proc yard::source_ {args} {
    set file [lindex $args end]
    if {[lindex [split $file /] end] ni {tb_compat.tcl nstb_compat.tcl}} {
        record source [where] $file
    }
    return
}

proc yard::clock_ {args} {
    record clock [where]
    return 0
}

proc yard::exit_ {args} {
    record exit [where]
    puts "end\t0\t0\tfinished"
    flush stdout
    exit
}

proc yard::opt {key} {
    variable box
    if {$key ne "" && ![catch {interp invokehidden $box -global set ::opt($key)} value]} {
        record variable [where] $key $value
    }
    return
}

# The trace calls with the array's name, the element and the operation.
proc yard::opt_trace {args} {
    opt [lindex $args end-1]
}

# How the file ended, if not well: what Tcl says, and where by its own account of what ran.
proc yard::failed {message options} {
    variable box
    variable lines
    variable bases
    variable first
    set story [dict get $options -errorinfo]
    set line 0
    set column 0
    set procedure ""
    foreach {- number} [regexp -all -inline {\("eval" body line (\d+)\)} $story] {
        set line [expr {$number + $first - 1}]
    }
    foreach {- name number} [regexp -all -inline {\(procedure "([^\n"]*)" line (\d+)\)} $story] {
        set full ::[string trimleft $name :]
        if {$procedure eq ""} {
            set procedure $name
        }
        if {[info exists bases($full)]} {
            set line [expr {$bases($full) + $number - 1}]
            break
        }
    }
    if {$line > 0 && $line <= [llength $lines]} {
        set text [lindex $lines $line-1]
        set at -1
        if {[regexp {\n    (?:while executing|invoked from within)\n"([^\n]{1,100})} $story - command]} {
            set at [string first [string trimright $command {".}] $text]
        }
        if {$at < 0} {
            set at [expr {[string length $text] - [string length [string trimleft $text]]}]
        }
        set column [expr {$at + 1}]
    }
    # A limit that is exceeded stays so: the next command fails too, whatever the file made of the error.
    if {[catch {interp eval $box list} limit] && [string match "*limit exceeded*" $limit]} {
        puts "end\t$line\t$column\t[expr {[string match time* $limit] ? "time" : "commands"}]\t[repeats]"
        return
    }
    foreach which {globals commands} {
        set count 0
        if {[catch {interp invokehidden $box -global $which} names]} continue
        foreach name [lsort $names] {
            if {[string length $name] > 80 || [regexp {^(tcl|_o\d|yard-|tb(node|link|lan)-[nl])} $name]} continue
            if {[incr count] > 1000} break
            record known {0 0} $which $name
        }
    }
    if {[regexp {^can't read "([^"(]+)\(.*": no such element in array} $message - array]
            && ![catch {interp invokehidden $box -global names $array} names]} {
        foreach name [lrange [lsort -dictionary $names] 0 99] {
            if {[string length $name] <= 80} {
                record known {0 0} elements $name
            }
        }
    }
    record failed [list $line $column] [string range $message 0 2000] $procedure
    puts "end\t0\t0\tfailed"
}

# Processor time of this process, in milliseconds. Linux counts it for /proc in hundredths of a second.
proc yard::used {} {
    set file [open /proc/self/stat]
    set fields [lrange [split [lindex [split [read $file] )] end] { }] 1 end]
    close $file
    return [expr {([lindex $fields 11] + [lindex $fields 12]) * 10}]
}

# Whether most of the time went into the few lines that run now.
proc yard::repeats {} {
    variable started
    variable began
    set now [used]
    return [expr {$now - $began > ($now - $started) / 2}]
}

# Tcl's limit is of the clock. On a busy machine a file is given what it has not had of the processor; and one that asks
# for much may take longer.
proc yard::check_time {} {
    variable started
    variable milliseconds
    variable forthousand
    variable mostmilliseconds
    variable records
    set allowed [expr {min($milliseconds + $records * $forthousand / 1000, max($milliseconds, $mostmilliseconds))}]
    set left [expr {$started + $allowed - [used]}]
    if {$left > 0} {
        extend_time [expr {max($left, 20)}]
    }
}

proc yard::extend_time {milliseconds} {
    variable box
    set until [expr {[clock milliseconds] + $milliseconds}]
    interp limit $box time -seconds [expr {$until / 1000}] -milliseconds [expr {$until % 1000}]
}

# Runs the file piece by piece, as Tcl finds the line of a running command by going through all that was compiled with
# it. A piece ends where a command does: it may be looked for again and again only as the piece grows.
proc yard::run {} {
    variable box
    variable lines
    variable first
    variable began
    variable places
    variable over
    set piece ""
    set size 0
    set least 0
    set number 0
    set count [llength $lines]
    foreach line $lines {
        incr number
        append piece $line \n
        incr size [string length $line]
        if {$number < $count} {
            if {$number - $first < 19 || $size < $least} continue
            if {![info complete $piece]} {
                set least [expr {$size + $size / 4 + 1}]
                continue
            }
        }
        array unset places
        puts "at\t$first\t1"
        flush stdout
        set began [used]
        set over 0
        if {[catch {interp eval $box [list eval "$piece\nyard-over"]} message options] == 1} {
            failed $message $options
            return
        }
        # A file may end itself by return.
        if {!$over} break
        set piece ""
        set size 0
        set least 0
        set first [expr {$number + 1}]
    }
    puts "end\t0\t0\tfinished"
}

proc yard::main {} {
    variable box
    variable most
    variable mostbytes
    variable lines
    variable answers
    variable classes
    # Standard output's bytes are UTF-8 whatever the environment.
    fconfigure stdout -encoding utf-8 -translation lf -buffering full -buffersize 65536
    variable milliseconds
    variable forthousand
    variable mostmilliseconds
    lassign [gets stdin] commands milliseconds forthousand mostmilliseconds depth most mostbytes
    set box [interp create -safe]
    interp recursionlimit $box $depth
    # The file may use all but the first of these, so it gets those back as aliases.
    foreach command {frame level globals commands} {
        interp eval $box [list rename ::tcl::info::$command $command]
        interp hide $box $command
        if {$command ne "frame"} {
            interp alias $box ::tcl::info::$command {} interp invokehidden $box $command
        }
    }
    interp eval $box {rename ::tcl::array::names names}
    interp hide $box names
    interp alias $box ::tcl::array::names {} interp invokehidden $box names
    foreach command {
        after chan close eof fblocked fcopy fileevent flush gets interp read seek tell update vwait zlib
    } {
        interp hide $box $command
    }
    interp hide $box set
    interp hide $box proc
    interp hide $box puts
    foreach {name handler} {
        set set_ proc proc_ puts puts_ source source_ clock clock_ exit exit_ new new
    } {
        interp alias $box $name {} yard::$handler
    }
    while {[gets stdin line] > 0} {
        lassign [split $line \t] kind name method answer
        switch -- $kind {
            command { interp alias $box $name {} yard::command $name }
            class { set classes($name) 1 }
            method { set answers($name,$method) $answer }
        }
    }
    interp alias $box ::yard-opt {} yard::opt_trace
    interp alias $box ::yard-over {} set yard::over 1
    interp eval $box {trace add variable ::opt {write} ::yard-opt}
    # The same file gives the same topology each time.
    interp eval $box {expr {srand(1)}}
    set text [read stdin]
    set lines [split $text \n]
    variable started [used]
    interp limit $box command -value [expr {[interp eval $box {info cmdcount}] + $commands}] -granularity 1
    interp limit $box time -granularity 1 -command yard::check_time
    extend_time $milliseconds
    run
    flush stdout
    exit
}

yard::main
