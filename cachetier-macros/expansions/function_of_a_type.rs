impl Users {
    async fn find(id: u64) -> User {
        #[allow(unused_imports)]
        use ::cachetier::attribute::probes::*;
        #[allow(clippy::all, clippy::pedantic)]
        let __shape = (&&(&&&&::cachetier::attribute::Probe::<User>::new()).shape())
            .checked();
        #[allow(clippy::all, clippy::pedantic)]
        let (__cache, __key) = {
            let __given = &(Self::cache());
            let __cache = ::cachetier::attribute::given(__given);
            let mut __key = ::cachetier::KeyText::new();
            __key.part(&(Self::KIND));
            __key.literal(":");
            __key.part(&(id));
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
                    let __returned: User = { User::find(id).await };
                    #[allow(unreachable_code)] return __returned;
                },
            )
            .await
    }
    ///Returns the key under which a call of `find` with these arguments is cached.
    #[must_use]
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    fn find_key(id: u64) -> ::std::string::String {
        ::std::string::String::from({
            let mut __key = ::cachetier::KeyText::new();
            __key.part(&(Self::KIND));
            __key.literal(":");
            __key.part(&(id));
            __key
        })
    }
    ///Invalidates what a call of `find` with these arguments has cached, in every instance.
    ///
    /// # Errors
    ///
    /// Those of an invalidation of the key; and that there is no cache.
    #[allow(dead_code, unused_variables, clippy::all, clippy::pedantic)]
    async fn find_invalidate(
        id: u64,
    ) -> ::std::result::Result<::cachetier::Delivery, ::cachetier::CacheError> {
        let __key = {
            let mut __key = ::cachetier::KeyText::new();
            __key.part(&(Self::KIND));
            __key.literal(":");
            __key.part(&(id));
            __key
        };
        let __cache = {
            let __given = &(Self::cache());
            let __cache = ::cachetier::attribute::given(__given);
            __cache.into_owned()
        };
        ::cachetier::attribute::invalidate(&__cache, &__key).await
    }
}
