//! Functions whose loops the compiler turns into the widest vectors that the processor at hand has.

/// Defines a function three times, for AVX-512, for AVX2 and for any processor, and calls the widest that runs here.
///
/// `fn name<const FUSED: bool>(..)` is told whether it may write `mul_add`: a fused step is one instruction on the first two, and a call of
/// the C library on any processor.
///
/// A closure will not do: it is compiled for the plainest processor unless the compiler happens to inline it.
macro_rules! vectorised {
    ($(#[$about:meta])* $seen:vis fn $name:ident<const $fused:ident: bool>($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$about])*
        $seen fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn plain<const $fused: bool>($($argument: $type),*) $(-> $result)? $body
            vectorised!(@ [plain::<true>] [plain::<false>] ($($argument: $type),*) ($(-> $result)?))
        }
    };
    ($(#[$about:meta])* $seen:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$about])*
        $seen fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn plain($($argument: $type),*) $(-> $result)? $body
            vectorised!(@ [plain] [plain] ($($argument: $type),*) ($(-> $result)?))
        }
    };
    (@ [$($fused:tt)*] [$($plain:tt)*] ($($argument:ident: $type:ty),*) ($($result:tt)*)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn widest($($argument: $type),*) $($result)* {
                $($fused)*($($argument),*)
            }
            #[target_feature(enable = "avx2,fma")]
            fn wide($($argument: $type),*) $($result)* {
                $($fused)*($($argument),*)
            }
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let wider = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            #[expect(unsafe_code, reason = "a function for some processors is called on them alone")]
            if avx2 && wider && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl") {
                // SAFETY: the processor has just said that it has these instructions.
                return unsafe { widest($($argument),*) };
            } else if avx2 {
                // SAFETY: as above.
                return unsafe { wide($($argument),*) };
            }
        }
        $($plain)*($($argument),*)
    }};
}

pub(crate) use vectorised;
