#[cfg(feature = "users")]
#[allow(non_snake_case)]
#[doc(hidden)]
#[inline]
async fn Find(db: &impl Db, id: u64, #[cfg(feature = "pages")] page: u32) -> User {
    #[allow(unused_imports)]
    use ::cachetier::attribute::probes::*;
    #[allow(clippy::all, clippy::pedantic)]
    let __shape = (&&(&&&&::cachetier::attribute::Probe::<User>::new()).shape())
        .checked();
    #[allow(clippy::all, clippy::pedantic)]
    let (__cache, __key) = {
        let __cache = ::cachetier::attribute::installed();
        fn __here() {}
        static __NAME: ::std::sync::LazyLock<::cachetier::attribute::Name> = ::std::sync::LazyLock::new(||
        ::cachetier::attribute::Name::of(&__here, 0usize, "Find"));
        let mut __key = ::cachetier::KeyText::new();
        __key.literal(__NAME.text());
        __key.literal(":").part(::cachetier::attribute::type_name_of(&db));
        __key.literal(":");
        __key.part(&id);
        #[cfg(feature = "pages")]
        {
            __key.literal(":");
            __key.part(&page);
        }
        if let ::std::option::Option::Some(__hit) = __shape.hit(&__cache, &__key) {
            return __hit;
        }
        (__cache.into_owned(), ::std::string::String::from(__key))
    };
    #[allow(clippy::all, clippy::pedantic)]
    let __rules = ::cachetier::attribute::rules(
        ::cachetier::Policy::ttl(::std::time::Duration::new(300u64, 0u32)),
        ::std::vec![],
    );
    #[allow(clippy::all, clippy::pedantic)]
    let __sharing = (&&&::cachetier::attribute::ErrorProbe::of(&__shape)).sharing();
    __shape
        .load(
            __cache,
            __key,
            __rules,
            __sharing,
            async move {
                if let ::std::option::Option::Some(__returned) = ::std::option::Option::None::<
                    User,
                > {
                    return __returned;
                }
                #[allow(clippy::let_unit_value, clippy::diverging_sub_expression)]
                let __returned: User = { db.find(id).await };
                #[allow(unreachable_code)] return __returned;
            },
        )
        .await
}
#[cfg(feature = "users")]
#[allow(non_snake_case)]
#[doc(hidden)]
///What belongs to [`Find`](fn@Find): its keys.
mod Find {
    #[allow(unused_imports)]
    use super::*;
    ///Returns the key under which a call of [`Find`](fn@super::Find) with these arguments is cached.
    #[must_use]
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    pub(super) fn key(
        db: &impl Db,
        id: u64,
        #[cfg(feature = "pages")]
        page: u32,
    ) -> ::std::string::String {
        ::std::string::String::from({
            fn __here() {}
            static __NAME: ::std::sync::LazyLock<::cachetier::attribute::Name> = ::std::sync::LazyLock::new(||
            ::cachetier::attribute::Name::of(&__here, 1usize, "Find"));
            let mut __key = ::cachetier::KeyText::new();
            __key.literal(__NAME.text());
            __key.literal(":").part(::cachetier::attribute::type_name_of(&db));
            __key.literal(":");
            __key.part(&id);
            #[cfg(feature = "pages")]
            {
                __key.literal(":");
                __key.part(&page);
            }
            __key
        })
    }
    ///Invalidates what a call of [`Find`](fn@super::Find) with these arguments has cached, in every instance.
    ///
    /// # Errors
    ///
    /// Those of an invalidation of the key; and that there is no cache.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    pub(super) async fn invalidate(
        db: &impl Db,
        id: u64,
        #[cfg(feature = "pages")]
        page: u32,
    ) -> ::std::result::Result<::cachetier::Delivery, ::cachetier::CacheError> {
        let __key = {
            fn __here() {}
            static __NAME: ::std::sync::LazyLock<::cachetier::attribute::Name> = ::std::sync::LazyLock::new(||
            ::cachetier::attribute::Name::of(&__here, 1usize, "Find"));
            let mut __key = ::cachetier::KeyText::new();
            __key.literal(__NAME.text());
            __key.literal(":").part(::cachetier::attribute::type_name_of(&db));
            __key.literal(":");
            __key.part(&id);
            #[cfg(feature = "pages")]
            {
                __key.literal(":");
                __key.part(&page);
            }
            __key
        };
        let __cache = ::cachetier::attribute::installed();
        ::cachetier::attribute::invalidate(&__cache, &__key).await
    }
}
